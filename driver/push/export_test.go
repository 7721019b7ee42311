package push

// Process is the name of this process in its messages.
func (p *Push) Process() string { return p.circle.self }
