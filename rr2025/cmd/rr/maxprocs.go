//go:build go1.25

// In a container with a part of the machine's processors this program has as many threads at work as that allows.
// Programs whose go.mod asks for an older Go get this only where they say so.
//go:debug containermaxprocs=1
//go:debug updatemaxprocs=1

package main
