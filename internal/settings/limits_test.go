package settings

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestServerLimitsOverrideGeneral(t *testing.T) {
	c := &Config{
		Limits: Limits{
			MaxPacketSize: "1", IdleTimeout: ptr(time.Minute), WriteTimeout: ptr(time.Duration(0)), MaxConnectionsPerIP: ptr(5), PushQueue: "2",
			PacketTimeout: ptr(time.Hour), StreamBuffer: "4", MinRate: "16KiB", IdleOn: IdleOnAny,
		},
		Servers: map[string]*Server{"a": {Addr: ":0"}, "b": {Addr: ":0", Limits: Limits{
			MaxPacketSize: "64KiB", IdleTimeout: ptr(time.Duration(0)), WriteTimeout: ptr(time.Second), ReusePort: ptr(true),
			PushQueue: "0", MaxConnectionsPerIP: ptr(0), Keepalive: ptr(time.Duration(0)), CloseTimeout: ptr(time.Duration(0)),
			PacketTimeout: ptr(time.Minute), StreamBuffer: "0", MinRate: "1KB",
		}}},
	}
	require.Empty(t, c.Check())
	require.Equal(t, limits{
		MaxPacketSize: 1 << 20, PushQueue: 2 << 20, IdleTimeout: time.Minute, IdleOn: IdleOnAny, PacketTimeout: time.Hour, MaxConnectionsPerIP: 5,
		StreamBuffer: 4 << 20, MinRate: 16 << 10,
		CloseTimeout: 10 * time.Second, Keepalive: 15 * time.Second,
	}, c.Servers["a"].limits)
	require.Equal(t, limits{MaxPacketSize: 64 << 10, IdleOn: IdleOnAny, PacketTimeout: time.Minute, WriteTimeout: time.Second, MinRate: 1 << 10, ReusePort: true}, c.Servers["b"].limits,
		"zero is a value, not an unset one")

	require.Equal(t, limits{
		MaxPacketSize: 64 << 20, PushQueue: 1 << 20, IdleOn: IdleOnReceived, WriteTimeout: time.Minute, CloseTimeout: 10 * time.Second, Keepalive: 15 * time.Second,
	}, new(Limits).resolve(new(Limits)), "the defaults")
}

func TestNegativeLimitsAreNamed(t *testing.T) {
	negative := ptr(-time.Second)
	l := Limits{
		IdleTimeout: negative, PacketTimeout: negative, WriteTimeout: negative, CloseTimeout: negative, Keepalive: negative,
		MaxConnectionsPerIP: ptr(-1),
	}
	errs := errors.Join(l.checkLimits("tcp.servers.a")...).Error()
	for _, key := range []string{"idle_timeout", "packet_timeout", "write_timeout", "close_timeout", "keepalive"} {
		require.Contains(t, errs, "tcp.servers.a."+key+": -1s is negative")
	}
	require.Contains(t, errs, "tcp.servers.a.max_connections_per_ip: -1 is negative; want a number, or 0 for no limit")
	zero := ptr(time.Duration(0))
	l = Limits{IdleTimeout: zero, PacketTimeout: zero, WriteTimeout: zero, CloseTimeout: zero, Keepalive: zero, MaxConnectionsPerIP: ptr(0)}
	require.NoError(t, errors.Join(l.checkLimits("tcp")...))
}

func TestKeepaliveThatNoSystemTakes(t *testing.T) {
	require.NoError(t, errors.Join((&Limits{Keepalive: ptr(32767 * time.Second)}).checkLimits("tcp")...))
	require.EqualError(t, errors.Join((&Limits{Keepalive: ptr(32767*time.Second + 1)}).checkLimits("tcp")...),
		"tcp.keepalive: 9h6m7.000000001s is over 9h6m7s, which is the most that a system takes; want less, or 0 for none")
}

func TestServerEffectiveSettings(t *testing.T) {
	s := &Server{Addr: "tcp://127.0.0.1:7777", ReadBufferSize: 2, Events: []string{"DATA", "CLOSE"}, Limits: Limits{
		MaxPacketSize: "1KB", PushQueue: "2KB", StreamBuffer: "3KB", MinRate: "4KB", MaxConnectionsPerIP: ptr(3), IdleTimeout: ptr(4 * time.Second), IdleOn: "any",
		PacketTimeout: ptr(5 * time.Second), WriteTimeout: ptr(6 * time.Second), CloseTimeout: ptr(7 * time.Second),
		Keepalive: ptr(8 * time.Second), ReusePort: ptr(true),
	}}
	s.Delimiter, s.Batch = "|", true
	_, err := checked(s)
	require.NoError(t, err)

	e := s.Effective()
	require.Equal(t, 2<<20, e.Framing.Batch)
	advance, packet, err := e.Framing.Split([]byte("a|b"), false)
	require.NoError(t, err)
	require.Equal(t, 2, advance)
	require.Equal(t, "a|", string(packet))

	e.Framing = framing.Framing{} // functions can't be compared
	require.Equal(t, Effective{
		Network: "tcp4", Address: "127.0.0.1:7777", ReadSize: 2 << 20, Disabled: wire.DisabledEvents{Connected: true},
		limits: limits{
			MaxPacketSize: 1 << 10, PushQueue: 2 << 10, StreamBuffer: 3 << 10, MinRate: 4 << 10, MaxConnectionsPerIP: 3,
			IdleTimeout: 4 * time.Second, IdleOn: "any", PacketTimeout: 5 * time.Second, WriteTimeout: 6 * time.Second,
			CloseTimeout: 7 * time.Second, Keepalive: 8 * time.Second, ReusePort: true,
		},
	}, e)
}

func TestFramingKnowsMaxPacketSize(t *testing.T) {
	s := &Server{Addr: ":0"}
	s.Framing, s.PacketSize, s.MaxPacketSize = "fixed", 2000, "1KB"
	_, err := checked(s)
	require.ErrorContains(t, err, "tcp.servers.a.packet_size: 2000 is over max_packet_size, 1024 bytes")
}

func TestOnTooLong(t *testing.T) {
	for value, want := range map[string]framing.TooLong{
		"": framing.TooLongDiscards, "close": framing.TooLongCloses, "discard": framing.TooLongDiscards, "truncate": framing.TooLongTruncates,
	} {
		c := &Config{Servers: map[string]*Server{"a": {Addr: ":0", Limits: Limits{OnTooLong: value}}}, Limits: Limits{OnTooLong: "discard"}}
		require.Empty(t, c.Check())
		require.Equal(t, want, c.Servers["a"].Effective().OnTooLong, value)
	}
	_, err := checked(&Server{Addr: ":0", Limits: Limits{OnTooLong: "drop"}})
	require.EqualError(t, err, `tcp.servers.a.on_too_long: unknown value "drop"; want "close", "discard" or "truncate"`)
	raw := &Server{Addr: ":0", Limits: Limits{OnTooLong: "discard"}}
	raw.Framing = "raw"
	_, err = checked(raw)
	require.EqualError(t, err, `tcp.servers.a.on_too_long: no packet of framing "raw" is too long; leave it out`)
}

func TestIdleOn(t *testing.T) {
	idle := ptr(time.Minute)
	for value, want := range map[string]string{"": IdleOnAny, "received": IdleOnReceived, "any": IdleOnAny} {
		c := &Config{
			Servers: map[string]*Server{"a": {Addr: ":0", Limits: Limits{IdleTimeout: idle, IdleOn: value}}}, Limits: Limits{IdleOn: "any"},
		}
		require.Empty(t, c.Check())
		require.Equal(t, want, c.Servers["a"].Effective().IdleOn, value)
	}
	_, err := checked(&Server{Addr: ":0", Limits: Limits{IdleTimeout: idle, IdleOn: "sent"}})
	require.EqualError(t, err, `tcp.servers.a.idle_on: unknown value "sent"; want "received" or "any"`)
	_, err = checked(&Server{Addr: ":0", Limits: Limits{IdleOn: "any"}})
	require.EqualError(t, err, `tcp.servers.a.idle_on: there is no idle_timeout that it could be about; leave it out, or set one`)
}

func TestConnectedOnAndHalfClose(t *testing.T) {
	s := &Server{Addr: ":0", ConnectedOn: "first_byte", HalfClose: "keep"}
	_, err := checked(s)
	require.NoError(t, err)
	require.True(t, s.Effective().ConnectedOnFirstByte)
	require.True(t, s.Effective().KeepHalfClosed)
	s = &Server{Addr: ":0"}
	_, err = checked(s)
	require.NoError(t, err)
	require.False(t, s.Effective().ConnectedOnFirstByte)
	require.False(t, s.Effective().KeepHalfClosed)
	_, err = checked(&Server{Addr: ":0", ConnectedOn: "data", HalfClose: "open"})
	require.EqualError(t, err, `tcp.servers.a.connected_on: unknown value "data"; want "accept" or "first_byte"
tcp.servers.a.half_close: unknown value "open"; want "close" or "keep"`)
}
