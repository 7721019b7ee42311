package main

import (
	"math"
	"slices"
)

// spread is what a number of samples of one thing come to.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Low    float64 `json:"low"`  // lower quartile
	High   float64 `json:"high"` // upper quartile
}

func spreadOf(samples []float64) spread {
	return spread{
		Median: quantile(samples, 0.5), Min: quantile(samples, 0), Max: quantile(samples, 1),
		Low: quantile(samples, 0.25), High: quantile(samples, 0.75),
	}
}

// quantile is the sample below which the share q of them lies, between two of
// them in proportion; NaN if there is none.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below == len(sorted)-1 {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// ratios divides samples of the same round.
func ratios(of, by []float64) []float64 {
	var out []float64
	for i := range min(len(of), len(by)) {
		if by[i] != 0 {
			out = append(out, of[i]/by[i])
		}
	}
	return out
}
