<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** One event of one connection. */
final class Event
{
    /**
     * @param string                    $host         the address of the client without its port; "@" on a unix socket
     * @param int|null                  $port         null on a unix socket
     * @param string|null               $localAddress of CONNECTED: the address that the client has connected to
     * @param string                    $body         of DATA: the packet
     * @param string                    $state        what the last reply with a state said; empty: none
     * @param bool                      $eof          of DATA: the end of file has ended the packet, not a delimiter
     * @param array<string, mixed>|null $tls          of CONNECTED: what the TLS handshake has agreed on
     * @param array<string, mixed>|null $proxy        of CONNECTED: what a trusted proxy has told
     * @param Reason|null               $reason       of CLOSE: why the connection has ended
     * @param int                       $bytesRead    of CLOSE
     * @param int                       $bytesWritten of CLOSE
     * @param float                     $seconds      of CLOSE: how long the connection was open
     * @param int                       $unfinished   of CLOSE: bytes of a packet that the end of file cut off
     * @param array<string, mixed>      $context      all keys, as they were sent
     */
    private function __construct(
        public readonly EventType $type,
        public readonly string $uuid,
        public readonly string $server,
        public readonly string $remoteAddress,
        public readonly string $host,
        public readonly ?int $port,
        public readonly ?string $localAddress,
        public readonly string $body,
        public readonly string $state,
        public readonly bool $eof,
        public readonly ?array $tls,
        public readonly ?array $proxy,
        public readonly ?Reason $reason,
        public readonly int $bytesRead,
        public readonly int $bytesWritten,
        public readonly float $seconds,
        public readonly int $unfinished,
        public readonly array $context,
    ) {
    }

    /** @param array<string, mixed> $context */
    public static function fromContext(array $context, string $body): self
    {
        $remote = (string) ($context['remote_addr'] ?? '');
        [$host, $port] = self::split($remote);

        return new self(
            EventType::fromWire((string) ($context['event'] ?? '')),
            (string) ($context['uuid'] ?? ''),
            (string) ($context['server'] ?? ''),
            $remote,
            $host,
            $port,
            $context['local_addr'] ?? null,
            $body,
            $context['state'] ?? '',
            $context['eof'] ?? false,
            $context['tls'] ?? null,
            $context['proxy'] ?? null,
            isset($context['reason']) ? Reason::tryFrom($context['reason']) ?? Reason::Unknown : null,
            $context['bytes_read'] ?? 0,
            $context['bytes_written'] ?? 0,
            (float) ($context['seconds'] ?? 0),
            $context['unfinished'] ?? 0,
            $context,
        );
    }

    /**
     * The state as Reply::withState() was given it, where that was an array.
     *
     * @return array<mixed> empty without a state
     *
     * @throws \JsonException where the state is some other text
     */
    public function stateArray(): array
    {
        return $this->state === '' ? [] : (array) json_decode($this->state, true, 512, JSON_THROW_ON_ERROR);
    }

    /**
     * "127.0.0.1:7" is a host and a port, and so is "[::1]:7"; "@" of a unix socket, and the bare addresses of
     * "dialect: documented", are a host.
     *
     * @return array{string, int|null}
     */
    private static function split(string $address): array
    {
        $colon = strrpos($address, ':');
        if ($colon === false) {
            return [$address, null];
        }
        $host = substr($address, 0, $colon);
        if ($host !== '' && $host[0] === '[') {
            return [trim($host, '[]'), (int) substr($address, $colon + 1)];
        }

        return str_contains($host, ':') ? [$address, null] : [$host, (int) substr($address, $colon + 1)];
    }
}
