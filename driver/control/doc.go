// Package control lets `weft status` and other commands look into a running
// daemon: JSON over HTTP on a unix socket that only root can open.
//
//	GET /v1/status                           Status
//	GET /v1/networks                         []Network
//	GET /v1/networks/{id or name}            NetworkDetail
//	GET /v1/endpoints?network=…&host=…       []Endpoint, filters as in Filter
//	GET /v1/hosts                            []Host
//	GET /v1/doctor?only=…                    Diagnosis, see Acts
//	POST /v1/hosts/{name}/forget             {}, see Acts
//	POST /v1/leave?force=true                {}, see Acts
//	POST /v1/away                            {}, see Acts
//	POST /v1/keys/rotate                     Keys, see Acts
//	POST /v1/log-level?level=debug           {}, see Acts
//
// A refusal is {"error": "one sentence"} with a 4xx or 5xx status. Fields are
// only ever added: a client must ignore those it does not know. Lists are
// sorted and never null.
//
// Views are pure functions of a State. Requests are answered from this process's
// memory, with three exceptions: forget and the change of the keys write to the store,
// leave asks whether the store answers, and a diagnosis makes checks, each with a
// deadline.
package control
