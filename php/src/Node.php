<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** A node of the cluster, as Pusher::nodes() lists it. */
final class Node
{
    /**
     * @param string $id      the first 12 digits of the uuids of its connections; empty without a cluster
     * @param bool   $self    it is the one that was asked
     * @param string $address where its servers listen
     * @param int    $uptime  in seconds
     */
    public function __construct(
        public readonly string $id,
        public readonly bool $self,
        public readonly string $version,
        public readonly string $host,
        public readonly string $address,
        public readonly int $connections,
        public readonly int $uptime,
        public readonly \DateTimeImmutable $lastHeard,
    ) {
    }

    /**
     * @param array<string, mixed> $node
     *
     * @internal
     */
    public static function fromArray(array $node): self
    {
        return new self(
            $node['node'],
            $node['self'],
            $node['version'],
            $node['host'],
            $node['address'],
            $node['connections'],
            $node['uptime'],
            new \DateTimeImmutable($node['last_heard']),
        );
    }
}
