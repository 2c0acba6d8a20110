<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What has happened to a connection. */
enum EventType: string
{
    /** A client has connected; nothing has been read from it yet. */
    case Connected = 'CONNECTED';

    /** The TLS handshake that a reply has asked for is over. */
    case Secured = 'SECURED';

    /** A packet has arrived. */
    case Data = 'DATA';

    /** The connection has ended. It comes once and last. */
    case Close = 'CLOSE';

    /** An event that is newer than this package. Event::$context has its name. */
    case Unknown = '';

    public static function fromWire(string $name): self
    {
        return match ($name) {
            'DATA' => self::Data,
            'CONNECTED' => self::Connected,
            'SECURED' => self::Secured,
            'CLOSE', 'CLOSED' => self::Close, // CLOSED with "dialect: documented"
            default => self::Unknown,
        };
    }
}
