<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Internal;

use Rrtcp\Worker\Event;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\ReplyType;
use Spiral\RoadRunner\Message\Command\StreamStop;
use Spiral\RoadRunner\Message\Command\WorkerStop;
use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\StreamWorkerInterface;
use Spiral\RoadRunner\WorkerInterface;

/**
 * Answers an event in several frames.
 *
 * @internal
 */
final class Stream
{
    private bool $isStopped = false;

    public function __construct(private readonly WorkerInterface $worker, private readonly Handler $handler)
    {
    }

    /** Whether RoadRunner stopped the worker while it was streaming. */
    public function isStopped(): bool
    {
        return $this->isStopped;
    }

    public function answer(Event $event, Reply $reply): void
    {
        $worker = $this->worker instanceof StreamWorkerInterface ? $this->worker->withStreamMode() : $this->worker;
        $type = $reply->type;
        // The first frame says all there is to say; the last one may close.
        $context = ['reply' => ReplyType::Write->value] + $reply->toArray($event->uuid);
        $plain = ['reply' => ReplyType::Write->value, 'uuid' => $event->uuid];
        $lastWords = '';

        try {
            foreach ($reply->chunks ?? [] as $chunk) {
                if ($worker->hasPayload(StreamStop::class)) {
                    break; // the client is gone
                }
                if ($chunk !== '') {
                    $worker->respond(self::frame($context, $chunk, false));
                    $context = $plain;
                }
            }
        } catch (\Throwable $e) {
            $lastWords = $this->handler->fail($event, $e)->body;
            $type = ReplyType::WriteAndClose;
        }
        $this->handler->release($event, $e);

        // A stop that has come meanwhile is known to this copy of the worker only.
        $this->isStopped = $worker !== $this->worker && $worker->hasPayload(WorkerStop::class);
        $worker->respond(self::frame(['reply' => $type->value] + $context, $lastWords, true));
    }

    /** @param array<string, mixed> $context */
    private static function frame(array $context, string $body, bool $isLast): Payload
    {
        return new Payload($body, json_encode($context, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), $isLast);
    }
}
