<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Internal;

use Rrtcp\Worker\Event;
use Rrtcp\Worker\EventType;
use Rrtcp\Worker\Reply;

/**
 * The user's handler as a function that always returns a reply.
 *
 * @internal
 */
final class Handler
{
    /** @var \Closure(Event): mixed */
    private readonly \Closure $call;

    /**
     * @param callable|object                              $handler   a function, or an object with onData and perhaps
     *                                                                onConnect, onSecure and onClose
     * @param string|\Closure(Event, \Throwable): string   $lastWords what a client gets whose event the handler fails
     * @param \Closure(Event, \Throwable): void            $report    is told of each failure
     */
    public function __construct(
        callable|object $handler,
        private readonly string|\Closure $lastWords,
        public readonly \Closure $report,
    ) {
        $this->call = is_callable($handler) ? \Closure::fromCallable($handler) : self::ofMethods($handler);
    }

    public function handle(Event $event): Reply
    {
        $reply = Reply::continue(); // to CLOSE: nobody can get what the handler returns
        try {
            $result = ($this->call)($event);
            if ($event->type !== EventType::Close) {
                return $result instanceof Reply ? $result : throw new \UnexpectedValueException(
                    'the handler returned ' . get_debug_type($result) . ', not a Reply',
                );
            }
        } catch (\Throwable $e) {
            $reply = $this->fail($event, $e);
        }
        $this->release($event, $result);
        $this->release($event, $e);

        return $reply;
    }

    /** Sets a variable to null. Its destructors and finally blocks run now; what they throw is reported. */
    public function release(Event $event, mixed &$variable): void
    {
        try {
            $variable = null;
        } catch (\Throwable $e) {
            ($this->report)($event, $e);
        }
    }

    /** Reports the failure and returns the reply that ends the connection. */
    public function fail(Event $event, \Throwable $e): Reply
    {
        ($this->report)($event, $e);
        if ($event->type === EventType::Close) {
            return Reply::continue();
        }
        try {
            $words = is_string($this->lastWords) ? $this->lastWords : ($this->lastWords)($event, $e);
            if (!is_string($words)) {
                throw new \UnexpectedValueException('lastWords returned ' . get_debug_type($words) . ', not a string');
            }
        } catch (\Throwable $e) {
            ($this->report)($event, $e);
            $words = '';
        }

        return $words === '' ? Reply::close() : Reply::writeAndClose($words);
    }

    /** @return \Closure(Event): mixed */
    private static function ofMethods(object $handler): \Closure
    {
        if (!method_exists($handler, 'onData')) {
            throw new \InvalidArgumentException($handler::class . ' has no method onData(Event): Reply');
        }
        $hasConnect = method_exists($handler, 'onConnect');
        $hasSecure = method_exists($handler, 'onSecure');
        $hasClose = method_exists($handler, 'onClose');

        return static fn (Event $event): mixed => match ($event->type) {
            EventType::Data => $handler->onData($event),
            EventType::Connected => $hasConnect ? $handler->onConnect($event) : Reply::continue(),
            EventType::Secured => $hasSecure ? $handler->onSecure($event) : Reply::continue(),
            EventType::Close => $hasClose ? $handler->onClose($event) : null,
            EventType::Unknown => Reply::continue(),
        };
    }
}
