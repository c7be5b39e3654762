// Package core finds hosts that keep many peers within a group of hosts that
// do the same: k-cores by bucket peeling (Batagelj and Zaveršnik 2003), capped
// by degree and contrasted with a random graph of the same degrees (MCNC).
package core

import "github.com/flowhound/flowhound/detector/graph"

// Coreness returns the core number of each vertex of the undirected simple
// graph behind the view.
func Coreness(v *graph.View) []uint32 { panic("BUG: not written") }

// DefaultCaps are the degree caps of MCNC.
var DefaultCaps = []uint32{6, 8, 11, 16, 23, 32, 45, 64, 90, 128, 181, 256, 362, 512, 1024, 2048}

// Params are the parameters of Contrast.
type Params struct {
	Caps []uint32 // nil means DefaultCaps
	Seed uint64   // of the null graph
	// Tie orders hosts of equal contrast: n times the undirected rank of each
	// vertex. Nil adds nothing.
	Tie []float64
}

// Result is the contrast of every vertex.
type Result struct {
	Score []float64 // max over caps of core/(null+1), plus the tie-break; 0 if no core ≥ 2
	Cap   []uint32  // the cap at which Score was reached, 0 if none
	Core  []uint32  // the vertex's core number at that cap
	Caps  []uint32
	Null  []uint32 // per cap, the largest core of the null graph
}

// Contrast returns the multi-cap null-contrasted coreness of each vertex.
func Contrast(v *graph.View, p Params) Result { panic("BUG: not written") }
