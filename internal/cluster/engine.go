package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
)

// engine is a server that hands messages to whoever is subscribed to their subject: at most once, in the order in which one node
// published them. Its subjects begin with the cluster's name, which the callers leave out.
type engine interface {
	// start connects, and goes on trying for ever where it may.
	start() error
	// publish sends messages. It may wait for the engine, for the timeout at most. One goroutine calls it.
	publish(batch []outgoing)
	// subscribe and unsubscribe may come at any time; subscriptions survive the loss of the engine.
	subscribe(subjects []string)
	unsubscribe(subjects []string)
	// settle returns when the engine knows of all subscriptions so far.
	settle(ctx context.Context)
	// maxMessage is the size of the largest message; 0: not known yet.
	maxMessage() int
	close()
}

// receiver is told by an engine what happens.
type receiver interface {
	up(server string)  // the engine can be reached: call it as often as it is so
	down(err error)    // it can't
	trouble(err error) // it can, but refuses something
	// unusable is told why this node's renewed certificate can't be used.
	unusable(err error)
	// received is told a message, whose bytes it keeps; for one subject in their order.
	received(message []byte)
	// nobody is told that nobody was subscribed to the subject of a message.
	nobody(call uint64)
	// unseen is told that nobody was seen to be subscribed, neither to the subject of a message nor to that of its node: both may have
	// been reached.
	unseen(call uint64)
	// failed is told that a message may not have been published.
	failed(call uint64)
}

var _ receiver = (*Cluster)(nil)

// isOfTLS reports whether the engine and this node can't use each other's TLS. crypto/tls has what the engine says of it as an error of the
// network.
func isOfTLS(err error) bool {
	op := (*net.OpError)(nil)
	return errors.As(err, &op) && op.Op == "remote error" || errors.As(err, new(*tls.CertificateVerificationError)) ||
		errors.As(err, new(tls.RecordHeaderError))
}

// Subjects. Those of a tag are for one node each, so that the engine knows at once which nodes do not have it.
const allSubject = "all"

func nodeSubject(node NodeID) string { return "node." + node.String() }

// nodeSubjectOf returns the subject of the node that a subject is for.
func nodeSubjectOf(subject string) string {
	return "node." + subject[strings.LastIndexByte(subject, '.')+1:]
}

func tagSubject(hash uint64, node NodeID) string { return "tag." + hex64(hash) + "." + node.String() }
