<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

use Rrtcp\Worker\Internal\Bulk;
use Rrtcp\Worker\Internal\Handler;
use Rrtcp\Worker\Internal\Stream;
use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\Worker;
use Spiral\RoadRunner\WorkerInterface;

/** Hands the events of RoadRunner's TCP server to a handler and sends what that returns, one reply for each event. */
final class Server
{
    private readonly WorkerInterface $worker;

    /** @var \Closure(string): void */
    private readonly \Closure $log;

    /**
     * @param WorkerInterface|null                       $worker    the default speaks over the process' own pipes
     * @param string|\Closure(Event, \Throwable): string $lastWords what a client gets whose event the handler fails,
     *                                                              before its connection is closed
     * @param (\Closure(string): void)|null              $log       the default is the standard error, which RoadRunner
     *                                                              logs
     */
    public function __construct(
        ?WorkerInterface $worker = null,
        private readonly string|\Closure $lastWords = '',
        ?\Closure $log = null,
    ) {
        $this->worker = $worker ?? self::createWorker();
        $this->log = $log ?? static function (string $text): void {
            fwrite(STDERR, $text);
        };
    }

    /**
     * Serves until RoadRunner stops the worker.
     *
     * The handler is a function that takes an Event and returns a Reply, or an object with the methods
     * onData(Event): Reply, onConnect(Event): Reply, onSecure(Event): Reply and onClose(Event): void, all but the
     * first as needed. What it returns for CLOSE is ignored. What it throws is logged and ends that connection; the
     * worker goes on.
     */
    public function run(callable|object $handler): void
    {
        $handler = new Handler($handler, $this->lastWords, $this->report(...));
        $bulk = new Bulk($this->worker, $handler);
        $stream = new Stream($this->worker, $handler);

        while (!$stream->isStopped() && ($payload = $this->worker->waitPayload()) !== null) {
            $this->answer($payload, $handler, $bulk, $stream);
            $payload = null; // else a large packet stays in memory while the next one is read
        }
    }

    private function answer(Payload $payload, Handler $handler, Bulk $bulk, Stream $stream): void
    {
        if ($payload->header === '') {
            return; // no event: an answer would be taken for that to the next
        }
        try {
            $context = json_decode($payload->header, true, 16, JSON_THROW_ON_ERROR);
            $events = ($context['event'] ?? '') === 'BULK' ? Bulk::events($context, $payload->body) : null;
        } catch (\JsonException | \UnexpectedValueException $e) {
            $this->worker->error('rrtcp/worker: ' . $e->getMessage());
            return;
        }
        if ($events !== null) {
            $bulk->answer($events);
            return;
        }

        $event = Event::fromContext($context, $payload->body);
        $reply = $handler->handle($event);
        if ($reply->chunks !== null) {
            $stream->answer($event, $reply);
            $handler->release($event, $reply); // a generator ends now, not with the next event
            return;
        }
        $header = json_encode($reply->toArray($event->uuid), JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES);
        $this->worker->respond(new Payload($reply->body, $header));
    }

    private static function createWorker(): WorkerInterface
    {
        // PHP 8.4 complains of roadrunner-worker 3.4.0 when it loads that. Printed, it would come between the frames.
        if ((bool) ini_get('display_errors')) {
            ini_set('display_errors', 'stderr');
        }
        // As much as a pipe holds. With PHP's 8 KiB a bulk of 256 KiB takes a third more time.
        stream_set_chunk_size(STDIN, 64 << 10);

        return Worker::create();
    }

    /** A log that fails ends no worker either: others may have their events in the same bulk. */
    private function report(Event $event, \Throwable $e): void
    {
        $about = "rrtcp/worker: {$event->server} {$event->uuid} {$event->type->name}: ";
        try {
            ($this->log)("$about$e\n");
        } catch (\Throwable $failure) { // or there is no text of it
            $what = $e::class . ": {$e->getMessage()}\n{$e->getTraceAsString()}";
            error_log("$about$what\nrrtcp/worker: the log failed: {$failure->getMessage()}");
        }
    }
}
