<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** One event of one connection. */
final class Event
{
    public readonly EventType $type;

    public readonly string $uuid;

    public readonly string $server;

    public readonly string $remoteAddress;

    /** The address of the client without its port; "@" on a unix socket. */
    public readonly string $host;

    /** Null on a unix socket. */
    public readonly ?int $port;

    /** Of CONNECTED: the address that the client has connected to. */
    public readonly ?string $localAddress;

    /** Of DATA: the packet. */
    public readonly string $body;

    /** What the last reply with a state said; empty: none. */
    public readonly string $state;

    /** Of DATA: the end of file has ended the packet, not a delimiter. */
    public readonly bool $eof;

    /** Of DATA: the packet was longer than max_packet_size, and this is its beginning. */
    public readonly bool $truncated;

    /** Of CONNECTED: a reply may ask for TLS, see Reply::withTls(). */
    public readonly bool $canStartTls;

    /** @var array<string, mixed>|null of CONNECTED and SECURED: what the TLS handshake has agreed on */
    public readonly ?array $tls;

    /** @var array<string, mixed>|null of CONNECTED: what a trusted proxy has told */
    public readonly ?array $proxy;

    /** Of CLOSE: why the connection has ended. */
    public readonly ?Reason $reason;

    /** Of CLOSE. */
    public readonly int $bytesRead;

    /** Of CLOSE. */
    public readonly int $bytesWritten;

    /** Of CLOSE: how long the connection was open. */
    public readonly float $seconds;

    /** Of CLOSE: bytes of a packet that the end of file cut off. */
    public readonly int $unfinished;

    /** Of CLOSE: how many packets were longer than max_packet_size and dropped. */
    public readonly int $discarded;

    /**
     * @param array<string, mixed> $context all keys, as they were sent
     */
    private function __construct(public readonly array $context, string $body)
    {
        $this->type = EventType::fromWire($context['event'] ?? '');
        $this->uuid = $context['uuid'] ?? '';
        $this->server = $context['server'] ?? '';
        $this->remoteAddress = $context['remote_addr'] ?? '';
        [$this->host, $this->port] = self::split($this->remoteAddress);
        $this->localAddress = $context['local_addr'] ?? null;
        $this->body = $body;
        $this->state = $context['state'] ?? '';
        $this->eof = $context['eof'] ?? false;
        $this->truncated = $context['truncated'] ?? false;
        $this->canStartTls = $context['starttls'] ?? false;
        $this->tls = $context['tls'] ?? null;
        $this->proxy = $context['proxy'] ?? null;
        $this->reason = isset($context['reason']) ? Reason::tryFrom($context['reason']) ?? Reason::Unknown : null;
        $this->bytesRead = $context['bytes_read'] ?? 0;
        $this->bytesWritten = $context['bytes_written'] ?? 0;
        $this->seconds = $context['seconds'] ?? 0.0;
        $this->unfinished = $context['unfinished'] ?? 0;
        $this->discarded = $context['discarded'] ?? 0;
    }

    /** @param array<string, mixed> $context */
    public static function fromContext(array $context, string $body): self
    {
        return new self($context, $body);
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
