package main

import (
	"testing"

	"github.com/rrtcp/tcp/cmd/rr/hosttest"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

func TestHost(t *testing.T) { hosttest.Run(t, hosttest.Line{Line: line}) }
