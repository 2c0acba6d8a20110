<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

use Rrtcp\Worker\Internal\Handler;
use Rrtcp\Worker\Internal\Packets;

/** A client of a TestHost. */
final class TestConnection
{
    public readonly string $uuid;

    private readonly Packets $packets;

    private string $received = '';

    private string $state = '';

    /** @var list<string> */
    private array $tags = [];

    private ?Reason $reason = null;

    /** @var list<Event> */
    private array $events = [];

    /** @var list<Reply> */
    private array $replies = [];

    private bool $canStartTls;

    /** The client has said that it sends no more. */
    private bool $isEnded = false;

    private int $bytesRead = 0;

    private int $bytesWritten = 0;

    /**
     * @param array<string, mixed> $context
     *
     * @internal TestHost::connect() makes them
     */
    public function __construct(
        private readonly Handler $handler,
        Framing $framing,
        private readonly string $server,
        private readonly string $remoteAddress,
        array $context,
    ) {
        $this->uuid = sprintf('00000000-0000-4000-8000-%s', bin2hex(random_bytes(6)));
        $this->packets = new Packets($framing);
        $this->canStartTls = $context['starttls'] ?? false;
        $this->exchange('CONNECTED', '', $context + ['local_addr' => '192.0.2.254:7777']);
    }

    /** The client sends bytes: part of a packet, one, or many. */
    public function send(string $bytes): self
    {
        if ($this->reason !== null) {
            throw new \LogicException("the connection has ended: {$this->reason->value}");
        }
        $this->bytesRead += strlen($bytes);
        $this->packets->add($bytes);
        $this->handOver();

        return $this;
    }

    /** Time goes by: a delimiter that is also the beginning of a longer one ends its packet. */
    public function wait(): self
    {
        $this->packets->decide();
        $this->handOver();

        return $this;
    }

    /** The client says that it sends no more, and still reads. A tail without a delimiter is a packet. */
    public function endOfFile(): self
    {
        $this->isEnded = true;
        $this->packets->end();
        $this->wait();
        if ($this->reason === null && ($tail = $this->packets->rest()) !== '') {
            $this->exchange('DATA', $tail, ['eof' => true]);
            $this->end(Reason::Eof, 0);
        }
        $this->end(Reason::Eof);

        return $this;
    }

    /**
     * The connection ends, and the handler gets CLOSE. It has no effect on one that has ended.
     *
     * @param int|null $unfinished bytes of a packet that was cut off; null: those that are left at Reason::Eof, else 0
     */
    public function end(Reason $reason = Reason::Reset, ?int $unfinished = null): void
    {
        if ($this->reason !== null) {
            return;
        }
        $this->reason = $reason;
        $unfinished ??= $reason === Reason::Eof ? $this->packets->unfinished() : 0;
        $this->exchange('CLOSE', '', [
            'reason' => $reason->value,
            'bytes_read' => $this->bytesRead,
            'bytes_written' => $this->bytesWritten,
            'seconds' => 0.001,
        ] + ($unfinished > 0 ? ['unfinished' => $unfinished] : []));
    }

    /** What the client has got since it was asked the last time. */
    public function received(): string
    {
        $received = $this->received;
        $this->received = '';

        return $received;
    }

    public function isOpen(): bool
    {
        return $this->reason === null;
    }

    /** Why it has ended; null while it is open. */
    public function reason(): ?Reason
    {
        return $this->reason;
    }

    public function state(): string
    {
        return $this->state;
    }

    /** @return list<string> */
    public function tags(): array
    {
        return $this->tags;
    }

    /** @return list<Event> what the handler was given */
    public function events(): array
    {
        return $this->events;
    }

    /** @return list<Reply> what it returned, event by event */
    public function replies(): array
    {
        return $this->replies;
    }

    private function handOver(): void
    {
        while ($this->reason === null && ($packet = $this->nextPacket()) !== null) {
            $this->exchange('DATA', $packet);
        }
    }

    private function nextPacket(): ?string
    {
        try {
            return $this->packets->next();
        } catch (\RangeException) {
            $this->end(Reason::Framing);
        } catch (\LengthException) {
            $this->end(Reason::TooLong);
        }

        return null;
    }

    /** @param array<string, mixed> $more */
    private function exchange(string $name, string $body, array $more = []): void
    {
        $context = ['remote_addr' => $this->remoteAddress, 'server' => $this->server, 'uuid' => $this->uuid];
        $context += ['event' => $name] + ($this->state === '' ? [] : ['state' => $this->state]) + $more;
        $event = Event::fromContext($context, $body);
        $this->events[] = $event;
        $reply = $this->handler->handle($event);
        $this->replies[] = $reply;
        if ($event->type !== EventType::Close) {
            $this->obey($event, $reply);
        }
    }

    private function obey(Event $event, Reply $reply): void
    {
        $readsOn = $reply->type === ReplyType::Write || $reply->type === ReplyType::Continue;
        if ($reply->tls && $readsOn && !$this->canStartTls) { // TestHost::connect() needs ['starttls' => true]
            $this->end(Reason::Reply);

            return;
        }
        $this->state = $reply->state ?? $this->state;
        $this->tags = $reply->tags ?? $this->tags;
        $type = $reply->type;
        try {
            foreach ($reply->chunks ?? [$reply->body] as $chunk) {
                $this->write($chunk);
            }
        } catch (\Throwable $e) {
            $failed = $this->handler->fail($event, $e);
            $this->write($failed->body);
            $type = $failed->type;
        }
        if ($type === ReplyType::Close || $type === ReplyType::WriteAndClose) {
            $this->end(Reason::Worker);
        } elseif ($reply->next !== null) {
            $this->packets->change($reply->next);
        }
        if ($reply->tls && $this->reason === null) {
            $this->canStartTls = false;
            $this->packets->drop();
            if ($this->isEnded) {
                $this->end(Reason::Handshake);

                return;
            }
            $this->exchange('SECURED', '', ['tls' => ['version' => '1.3', 'cipher' => '', 'server_name' => '']]);
        }
    }

    private function write(string $bytes): void
    {
        $this->received .= $bytes;
        $this->bytesWritten += strlen($bytes);
    }
}
