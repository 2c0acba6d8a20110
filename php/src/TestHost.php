<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

use Rrtcp\Worker\Internal\Handler;

/**
 * Drives a handler without RoadRunner, for tests of servers: its connections are objects that are sent bytes and asked
 * what came back.
 *
 *     $client = (new TestHost($handler))->connect();
 *     $client->send("hello\r\n");
 *     self::assertSame("hello\r\n", $client->received());
 *
 * There is no socket, no process and no time: limits and streams that are broken off are not part of it.
 */
final class TestHost
{
    private readonly Handler $handler;

    /** @var list<TestConnection> */
    private array $connections = [];

    /** @var list<\Throwable> */
    private array $errors = [];

    /**
     * @param callable|object                                 $handler   what Server::run() takes
     * @param Framing|null                                    $framing   of the server; "\r\n" if not given
     * @param string|\Closure(Event, \Throwable): string|null $lastWords as Server has it; null: what the handler throws
     *                                                                   is thrown on to the test
     */
    public function __construct(
        callable|object $handler,
        private readonly ?Framing $framing = null,
        private readonly string $server = 'test',
        string|\Closure|null $lastWords = null,
    ) {
        $report = function (Event $event, \Throwable $e) use ($lastWords): void {
            if ($lastWords === null) {
                throw $e;
            }
            $this->errors[] = $e;
        };
        $this->handler = new Handler($handler, $lastWords ?? '', $report);
    }

    /**
     * A client connects.
     *
     * @param array<string, mixed> $context more keys of CONNECTED: tls, or starttls, which Reply::withTls() needs
     */
    public function connect(string $remoteAddress = '192.0.2.1:50000', array $context = []): TestConnection
    {
        $framing = $this->framing ?? Framing::until("\r\n");
        $connection = new TestConnection($this->handler, $framing, $this->server, $remoteAddress, $context);
        $this->connections[] = $connection;

        return $connection;
    }

    /** RoadRunner stops: all connections end. */
    public function stop(): void
    {
        foreach ($this->connections as $connection) {
            $connection->end(Reason::Shutdown);
        }
    }

    /** @return list<\Throwable> what the handler has thrown, where last words were given */
    public function errors(): array
    {
        return $this->errors;
    }
}
