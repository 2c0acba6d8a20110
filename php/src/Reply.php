<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What a handler answers to an event. It does not change: the methods with… return another one. */
final class Reply
{
    private const MAX_STATE = 64 << 10;
    private const MAX_TAGS = 32;
    private const MAX_TAG = 128;

    /**
     * @param iterable<string>|null $chunks what is streamed in place of the body
     * @param string|null           $state  null: as before, empty: none
     * @param list<string>|null     $tags   null: as before, empty: none
     * @param Framing|null          $next   null: as before
     * @param bool                  $tls    a TLS handshake follows
     */
    private function __construct(
        public readonly ReplyType $type,
        public readonly string $body = '',
        public readonly ?iterable $chunks = null,
        public readonly ?string $state = null,
        public readonly ?array $tags = null,
        public readonly ?Framing $next = null,
        public readonly bool $tls = false,
    ) {
    }

    /** The bytes go to the client, then the next packet is read. */
    public static function write(string $bytes): self
    {
        return new self(ReplyType::Write, $bytes);
    }

    /** The next packet is read. */
    public static function continue(): self
    {
        return new self(ReplyType::Continue);
    }

    /** The bytes go to the client, then the connection is closed. */
    public static function writeAndClose(string $bytes): self
    {
        return new self(ReplyType::WriteAndClose, $bytes);
    }

    /** The connection is closed. */
    public static function close(): self
    {
        return new self(ReplyType::Close);
    }

    /**
     * Each chunk is written as it comes, so the answer need not be in memory as a whole. A generator is left alone,
     * and its finally blocks are run, as soon as the client is gone.
     *
     * @param iterable<string> $chunks
     */
    public static function stream(iterable $chunks, bool $close = false): self
    {
        return new self($close ? ReplyType::WriteAndClose : ReplyType::Write, chunks: $chunks);
    }

    /**
     * What later events of the connection have as their state, whichever worker gets them.
     *
     * @param string|array<mixed> $state an array is kept as JSON, see Event::stateArray(); empty: none
     */
    public function withState(string|array $state): self
    {
        if (is_array($state)) {
            $state = $state === [] ? '' : json_encode($state, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION);
        }
        if (strlen($state) > self::MAX_STATE || !self::isText($state)) {
            throw new \InvalidArgumentException('a state is text (UTF-8) of at most 64 KiB');
        }

        return $this->with(state: $state);
    }

    /**
     * All the names that Pusher::broadcast() finds the connection by.
     *
     * @param string[] $tags empty: none
     */
    public function withTags(array $tags): self
    {
        foreach ($tags as $tag) {
            if ($tag === '' || strlen($tag) > self::MAX_TAG || !self::isText($tag)) {
                throw new \InvalidArgumentException('a tag is text (UTF-8) of 1 to 128 bytes');
            }
        }
        $tags = array_values(array_unique($tags));
        if (count($tags) > self::MAX_TAGS) {
            throw new \InvalidArgumentException('a connection has at most 32 tags');
        }

        return $this->with(tags: $tags);
    }

    /** How what the client sends from now on is cut into packets. */
    public function withNext(Framing $next): self
    {
        return $this->with(next: $next);
    }

    /**
     * Behind the bytes comes a TLS handshake (STARTTLS), then the event EventType::Secured. What the client has sent
     * before it in plain text, behind this packet, is dropped. The server needs "start: plain" in its section tls.
     */
    public function withTls(): self
    {
        if ($this->chunks !== null) {
            throw new \LogicException('a streamed answer can not ask for TLS');
        }

        return $this->with(tls: true);
    }

    /**
     * The context of the reply, as it is on the wire. It names the event's connection, so that a reply that went astray
     * is found out.
     *
     * @return array<string, mixed>
     *
     * @internal
     */
    public function toArray(string $uuid): array
    {
        $context = ['reply' => $this->type->value, 'uuid' => $uuid];
        if ($this->state !== null) {
            $context['state'] = $this->state;
        }
        if ($this->tags !== null) {
            $context['tags'] = $this->tags;
        }
        if ($this->next !== null) {
            $context['next'] = $this->next->toArray() ?: new \stdClass(); // in JSON [] is no object
        }

        if ($this->tls) {
            $context['tls'] = true;
        }

        return $context;
    }

    /**
     * The same reply with a body in place of chunks.
     *
     * @param bool $close ends the connection, whatever the type is
     *
     * @internal
     */
    public function withBody(string $body, bool $close = false): self
    {
        $type = $close ? ReplyType::WriteAndClose : $this->type;

        return new self($type, $body, null, $this->state, $this->tags, $this->next, $this->tls);
    }

    /** @param list<string>|null $tags */
    private function with(
        ?string $state = null,
        ?array $tags = null,
        ?Framing $next = null,
        bool $tls = false,
    ): self {
        return new self(
            $this->type,
            $this->body,
            $this->chunks,
            $state ?? $this->state,
            $tags ?? $this->tags,
            $next ?? $this->next,
            $tls || $this->tls,
        );
    }

    private static function isText(string $bytes): bool
    {
        return preg_match('//u', $bytes) === 1;
    }
}
