<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\StreamWorkerInterface;

/** A worker whose events are given and whose replies are kept. */
final class FakeWorker implements StreamWorkerInterface
{
    /** @var list<Payload|string> what was sent; an error is its text */
    public array $sent = [];

    /** @var list<class-string<Payload>> what hasPayload() says yes to, once this many payloads were sent */
    public array $pulled = [];

    public int $pulledAfter = 0;

    /** @var (\Closure(): void)|null called when the server waits for the next event */
    public ?\Closure $waits = null;

    /** @var list<Payload> */
    private array $events;

    public function __construct(Payload ...$events)
    {
        $this->events = array_values($events);
    }

    /** @param array<string, mixed> $context */
    public static function event(array $context, string $body = ''): Payload
    {
        return new Payload($body, json_encode($context, JSON_THROW_ON_ERROR));
    }

    /** @param array<string, string> $bodies by uuid */
    public static function bulk(array $bodies): Payload
    {
        $events = [];
        foreach (array_keys($bodies) as $uuid) {
            $events[] = ['event' => 'DATA', 'uuid' => $uuid, 'server' => 's', 'remote_addr' => '192.0.2.1:1'];
        }
        $sizes = array_map('strlen', array_values($bodies));

        return self::event(['event' => 'BULK', 'events' => $events, 'sizes' => $sizes], implode('', $bodies));
    }

    /** @return list<array{array<string, mixed>, string, bool}> context, body, and whether it was the last frame */
    public function frames(): array
    {
        $frame = static fn (Payload $p): array => [json_decode($p->header, true), $p->body, $p->eos];

        return array_map($frame, $this->sent);
    }

    /** @return array<string, string> what bulks were answered with: word and body by uuid, in order */
    public function replies(): array
    {
        $replies = [];
        foreach ($this->frames() as [$context, $body]) {
            foreach ($context['replies'] as $i => $reply) {
                $replies[$reply['uuid']] = $reply['reply'] . ' ' . substr($body, 0, $context['sizes'][$i]);
                $body = substr($body, $context['sizes'][$i]);
            }
            if ($body !== '') {
                throw new \LogicException("left over: $body");
            }
        }

        return $replies;
    }

    public function waitPayload(): ?Payload
    {
        if ($this->waits !== null) {
            ($this->waits)();
        }

        return array_shift($this->events);
    }

    public function respond(Payload $payload): void
    {
        $this->sent[] = $payload;
    }

    public function error(string $error): void
    {
        $this->sent[] = $error;
    }

    public function stop(): void
    {
    }

    public function hasPayload(?string $class = null): bool
    {
        return count($this->sent) >= $this->pulledAfter && in_array($class, $this->pulled, true);
    }

    public function getPayload(?string $class = null): ?Payload
    {
        return null;
    }

    public function withStreamMode(): static
    {
        $copy = clone $this;
        $copy->sent = &$this->sent;

        return $copy;
    }
}
