<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** Why a connection has ended. */
enum Reason: string
{
    /** The client closed it. */
    case Eof = 'eof';

    /** The client, or the way to it, broke it. */
    case Reset = 'reset';

    /** A worker closed it. */
    case Worker = 'worker';

    /** A worker answered something that is no reply. */
    case Reply = 'reply';

    /** A worker answered with an error, died, or took longer than exec_ttl. */
    case Error = 'error';

    /** Pusher::close, or Pusher::write with close. */
    case Rpc = 'rpc';

    /** No packet began within idle_timeout. */
    case Idle = 'idle';

    /** A packet was not finished in time, or an answer not taken in time. */
    case Slow = 'slow';

    /** A packet was longer than max_packet_size. */
    case TooLong = 'too_long';

    /** A packet fitted no rule of the framing. */
    case Framing = 'framing';

    /** memory_limit was used up. */
    case Memory = 'memory';

    /** No worker was free in time. */
    case Overload = 'overload';

    /** RoadRunner is stopping. */
    case Shutdown = 'shutdown';

    /** The handshake failed. */
    case Handshake = 'handshake';

    /** A reason that is newer than this package. Event::$context has its name. */
    case Unknown = '';
}
