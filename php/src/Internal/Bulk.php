<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Internal;

use Rrtcp\Worker\Event;
use Rrtcp\Worker\Reply;
use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\WorkerInterface;

/**
 * Answers events of several connections that came as one exchange. docs/worker-protocol.md has the bytes.
 *
 * @internal
 */
final class Bulk
{
    /** Replies wait for each other so long, in nanoseconds. */
    private const MAX_WAIT = 5_000_000;

    /** Bodies wait for each other up to so many bytes. */
    private const MAX_BYTES = 1 << 20;

    /** A streamed answer of one event in a bulk may have so many bytes. */
    private const MAX_STREAM = 8 << 20;

    /** Whether an event of the last bulk took longer than MAX_WAIT: then no reply waits for the next event. */
    private bool $isSlow = false;

    /** @var list<array<string, mixed>> */
    private array $replies = [];

    /** @var list<int> */
    private array $sizes = [];

    /** @var list<string> */
    private array $bodies = [];

    private int $bytes = 0;

    /** @var \Closure(): int */
    private readonly \Closure $clock;

    /** @param (\Closure(): int)|null $clock in nanoseconds */
    public function __construct(
        private readonly WorkerInterface $worker,
        private readonly Handler $handler,
        ?\Closure $clock = null,
    ) {
        $this->clock = $clock ?? static fn (): int => hrtime(true);
    }

    /**
     * @param array<string, mixed> $context
     *
     * @return non-empty-list<Event>
     */
    public static function events(array $context, string $body): array
    {
        $contexts = $context['events'] ?? null;
        $sizes = $context['sizes'] ?? null;
        if (!is_array($contexts) || !is_array($sizes) || $contexts === [] || count($contexts) !== count($sizes)) {
            throw new \UnexpectedValueException('a bulk needs events, and as many sizes');
        }
        if (array_sum($sizes) !== strlen($body)) {
            throw new \UnexpectedValueException('the sizes of a bulk do not add up to its body');
        }
        $events = [];
        $offset = 0;
        foreach ($contexts as $i => $one) {
            $events[] = Event::fromContext($one, substr($body, $offset, $sizes[$i]));
            $offset += $sizes[$i];
        }

        return $events;
    }

    /** @param non-empty-list<Event> $events */
    public function answer(array $events): void
    {
        $wasSlow = $this->isSlow;
        $this->isSlow = false;
        $last = count($events) - 1;
        $now = $flushed = ($this->clock)();

        foreach ($events as $i => $event) {
            $begin = $now;
            $this->add($event, $this->whole($event, $this->handler->handle($event)));
            $now = ($this->clock)();
            $this->isSlow = $this->isSlow || $now - $begin > self::MAX_WAIT;
            $isDue = $wasSlow || $now - $flushed > self::MAX_WAIT || $this->bytes > self::MAX_BYTES;
            if ($isDue && $i < $last) {
                $this->flush(false);
                $flushed = $now;
            }
        }
        $this->flush(true);
    }

    private function add(Event $event, Reply $reply): void
    {
        $this->replies[] = $reply->toArray($event->uuid);
        $this->sizes[] = $size = strlen($reply->body);
        $this->bodies[] = $reply->body;
        $this->bytes += $size;
    }

    private function flush(bool $isLast): void
    {
        $context = ['replies' => $this->replies, 'sizes' => $this->sizes];
        $header = json_encode($context, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES);
        $bodies = implode('', $this->bodies);
        $this->replies = $this->sizes = $this->bodies = [];
        $this->bytes = 0;
        $this->worker->respond(new Payload($bodies, $header, $isLast));
    }

    /** A bulk has no frames of one event alone, so a streamed answer is collected. */
    private function whole(Event $event, Reply $reply): Reply
    {
        if ($reply->chunks === null) {
            return $reply;
        }
        $body = '';
        $size = 0;
        $fails = false;
        try {
            foreach ($reply->chunks as $chunk) {
                $size += strlen($chunk); // a TypeError where it is no string
                if ($size > self::MAX_STREAM) {
                    $body = '';
                    throw new \LengthException('a streamed answer has more than 8 MiB: leave tcp.bulk off for those');
                }
                $body .= $chunk;
            }
        } catch (\Throwable $e) { // as Stream has it: what came before the failure, then the last words
            $fails = true;
            $body .= $this->handler->fail($event, $e)->body;
        }
        $whole = $reply->withBody($body, close: $fails);
        $this->handler->release($event, $e);
        $this->handler->release($event, $reply); // a generator that was left alone ends now, not behind the reply

        return $whole;
    }
}
