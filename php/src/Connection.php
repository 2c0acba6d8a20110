<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** An open connection, as Pusher::connections() lists it. */
final class Connection
{
    /**
     * @param int          $bytesRead what has come from the client
     * @param int          $packets   handed to workers
     * @param list<string> $tags
     * @param string       $phase     opening, reading, replying, securing or closing
     */
    public function __construct(
        public readonly string $uuid,
        public readonly string $server,
        public readonly string $remoteAddress,
        public readonly \DateTimeImmutable $connectedAt,
        public readonly int $bytesRead,
        public readonly int $bytesWritten,
        public readonly int $packets,
        public readonly array $tags,
        public readonly string $phase,
    ) {
    }

    /**
     * @param array<string, mixed> $connection
     *
     * @internal
     */
    public static function fromArray(array $connection): self
    {
        return new self(
            $connection['uuid'],
            $connection['server'],
            $connection['remote_addr'],
            new \DateTimeImmutable($connection['connected_at']),
            $connection['bytes'],
            $connection['bytes_written'],
            $connection['packets'],
            $connection['tags'] ?? [],
            $connection['state'],
        );
    }
}
