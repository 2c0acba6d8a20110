<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Event;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\Server;
use Spiral\RoadRunner\Message\Command\StreamStop;
use Spiral\RoadRunner\Message\Command\WorkerStop;
use Spiral\RoadRunner\Payload;

final class ServerTest extends TestCase
{
    private string $log = '';

    public function testEachEventHasOneReplyThatNamesIt(): void
    {
        $worker = new FakeWorker(
            FakeWorker::event(['event' => 'CONNECTED', 'uuid' => 'a']),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], "hello\r\n"),
            new Payload('', ''),
            FakeWorker::event(['event' => 'CLOSE', 'uuid' => 'a']),
        );
        $this->serve($worker, static fn (Event $e): Reply => Reply::write("{$e->type->name} {$e->body}"));
        self::assertSame([
            [['reply' => 'WRITE', 'uuid' => 'a'], 'Connected ', true],
            [['reply' => 'WRITE', 'uuid' => 'a'], "Data hello\r\n", true],
            [['reply' => 'CONTINUE', 'uuid' => 'a'], '', true],
        ], $worker->frames());
        self::assertSame('', $this->log);
    }

    public function testWhatPHPComplainsOfIsNotPrintedBetweenTheFrames(): void
    {
        $command = [PHP_BINARY, '-n', '-d', 'display_errors=1', '-d', 'log_errors=0', __DIR__ . '/deprecated.php'];
        $process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['pipe', 'w']], $pipes);
        self::assertIsResource($process);
        self::assertSame('', stream_get_contents($pipes[1]));
        self::assertStringContainsString('Worker is old', (string) stream_get_contents($pipes[2]));
        self::assertSame(0, proc_close($process));
    }

    public function testAnObjectHasAMethodForEachEvent(): void
    {
        $handler = new class {
            public string $closed = '';

            public function onConnect(Event $event): Reply
            {
                return Reply::write('welcome');
            }

            public function onData(Event $event): Reply
            {
                return Reply::writeAndClose('bye');
            }

            public function onClose(Event $event): void
            {
                $this->closed .= $event->uuid;
            }
        };
        $worker = new FakeWorker(
            FakeWorker::event(['event' => 'CONNECTED', 'uuid' => 'a']),
            FakeWorker::event(['event' => 'NEW', 'uuid' => 'a']),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']),
            FakeWorker::event(['event' => 'CLOSE', 'uuid' => 'a']),
        );
        $this->serve($worker, $handler);
        self::assertSame(['welcome', '', 'bye', ''], array_column($worker->frames(), 1));
        self::assertSame('a', $handler->closed);

        $worker = new FakeWorker(FakeWorker::event(['event' => 'CONNECTED']), FakeWorker::event(['event' => 'CLOSE']));
        $this->serve($worker, new class {
            public function onData(Event $event): Reply
            {
                return Reply::close();
            }
        });
        self::assertSame(['CONTINUE', 'CONTINUE'], array_column(array_column($worker->frames(), 0), 'reply'));

        $this->expectExceptionMessage('has no method onData');
        $this->serve(new FakeWorker(), new \stdClass());
    }

    public function testWhatFailsEndsThatConnectionAlone(): void
    {
        $worker = new FakeWorker(
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a', 'server' => 'smtp'], 'throw'),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'b'], 'nothing'),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'd'], 'divide'),
            FakeWorker::event(['event' => 'CLOSE', 'uuid' => 'a'], 'throw'),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'c'], 'echo'),
        );
        $handler = static fn (Event $e): ?Reply => match ($e->body) {
            'throw' => throw new \RuntimeException('no database'),
            'nothing' => null,
            'divide' => Reply::write((string) intdiv(1, strlen($e->server))),
            'echo' => Reply::write($e->body),
        };
        $this->serve($worker, $handler, "421\r\n");
        self::assertSame([
            [['reply' => 'WRITECLOSE', 'uuid' => 'a'], "421\r\n", true],
            [['reply' => 'WRITECLOSE', 'uuid' => 'b'], "421\r\n", true],
            [['reply' => 'WRITECLOSE', 'uuid' => 'd'], "421\r\n", true],
            [['reply' => 'CONTINUE', 'uuid' => 'a'], '', true],
            [['reply' => 'WRITE', 'uuid' => 'c'], 'echo', true],
        ], $worker->frames());
        self::assertStringContainsString('rrtcp/worker: smtp a Data: RuntimeException: no database in ', $this->log);
        self::assertStringContainsString('the handler returned null, not a Reply', $this->log);

        $worker = new FakeWorker(FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'throw'));
        $this->serve($worker, $handler);
        self::assertSame([[['reply' => 'CLOSE', 'uuid' => 'a'], '', true]], $worker->frames());

        $worker = new FakeWorker(FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'throw'));
        $words = static fn (Event $e, \Throwable $t): string => "{$e->uuid}: {$t->getMessage()}";
        $this->serve($worker, $handler, $words);
        self::assertSame([[['reply' => 'WRITECLOSE', 'uuid' => 'a'], 'a: no database', true]], $worker->frames());

        $worker = new FakeWorker(FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'throw'));
        $this->serve($worker, $handler, static fn (): string => throw new \LogicException('speechless'));
        self::assertSame([[['reply' => 'CLOSE', 'uuid' => 'a'], '', true]], $worker->frames());
        self::assertStringContainsString('speechless', $this->log);

        $worker = new FakeWorker(
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'throw'),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'b'], 'echo'),
        );
        $this->serve($worker, $handler, static fn () => null);
        self::assertSame(['CLOSE', 'WRITE'], array_column(array_column($worker->frames(), 0), 'reply'));
        self::assertStringContainsString('no database', $this->log);
        self::assertStringContainsString('lastWords returned null, not a string', $this->log);
    }

    public function testALogThatFailsEndsNoOther(): void
    {
        $worker = new FakeWorker(
            FakeWorker::bulk(['a' => 'one', 'b' => 'throw', 'c' => 'three']),
            FakeWorker::bulk(['d' => 'throw']),
        );
        $handler = static fn (Event $e): Reply => $e->body === 'throw'
            ? throw new \RuntimeException('no database')
            : Reply::write($e->body);
        $file = (string) tempnam(sys_get_temp_dir(), 'rrtcp');
        $before = (string) ini_set('error_log', $file);
        try {
            (new Server($worker, 'sorry', static fn (string $text) => throw new \RuntimeException('disk full')))
                ->run($handler);
            $said = (string) file_get_contents($file);
        } finally {
            ini_set('error_log', $before);
            unlink($file);
        }
        self::assertSame(
            ['a' => 'WRITE one', 'b' => 'WRITECLOSE sorry', 'c' => 'WRITE three', 'd' => 'WRITECLOSE sorry'],
            $worker->replies(),
        );
        self::assertStringContainsString('no database', $said);
        self::assertStringContainsString('disk full', $said);
    }

    public function testWhoWaitsHoldsNoPacket(): void
    {
        $payloads = [
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'alone'),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'stream'),
            FakeWorker::bulk(['a' => 'one', 'b' => 'two']),
            FakeWorker::event(['event' => 'CLOSE', 'uuid' => 'a']),
        ];
        $references = array_map(\WeakReference::create(...), $payloads);
        $worker = new FakeWorker(...$payloads);
        unset($payloads);
        $event = $held = $there = null;
        $worker->waits = static function () use (&$event, &$held, &$there, $references): void {
            $held[] = $event?->get()?->body;
            $there[] = count(array_filter($references, static fn (\WeakReference $r): bool => $r->get() !== null));
        };
        $this->serve($worker, static function (Event $e) use (&$event): Reply {
            $event = \WeakReference::create($e);

            return $e->body === 'stream' ? Reply::stream(['x']) : Reply::write($e->body);
        });
        self::assertSame([null, null, null, null, null], $held);
        self::assertSame([4, 3, 2, 1, 0], $there, 'those that are still to come');
    }

    /** @dataProvider failuresThatFail */
    public function testAFailureThatFailsItselfEndsNoWorker(\Closure $handler): void
    {
        $file = (string) tempnam(sys_get_temp_dir(), 'rrtcp');
        $before = (string) ini_set('error_log', $file);
        try {
            $alone = new FakeWorker(
                FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']),
                FakeWorker::event(['event' => 'CLOSE', 'uuid' => 'a']),
                FakeWorker::event(['event' => 'CLOSE', 'uuid' => 'b']),
            );
            $this->serve($alone, $handler);
            $bulk = new FakeWorker(FakeWorker::bulk(['a' => '', 'b' => '']));
            $this->serve($bulk, $handler);
        } finally {
            ini_set('error_log', $before);
            unlink($file);
        }
        self::assertSame('b', $alone->frames()[count($alone->sent) - 1][0]['uuid']);
        self::assertSame(['a', 'b'], array_keys($bulk->replies()));
    }

    /** @return iterable<string, array{\Closure(Event): mixed}> */
    public static function failuresThatFail(): iterable
    {
        $bad = static fn (): object => new class implements \IteratorAggregate {
            public function getIterator(): \Iterator
            {
                yield 'chunk';
                throw new class ($this) extends \RuntimeException {
                    public function __construct(public object $cause)
                    {
                        parent::__construct('within');
                    }
                };
            }

            public function __destruct()
            {
                throw new \RuntimeException('while cleaning up');
            }
        };
        $noText = new class ('x') extends \RuntimeException {
            public function __toString(): string
            {
                throw new \LogicException('no text');
            }
        };
        yield 'no reply' => [static fn (): object => $bad()];
        yield 'a stream' => [static fn (): Reply => Reply::stream($bad())];
        yield 'what a failure holds' => [static fn (): Reply => Reply::write(implode(iterator_to_array($bad())))];
        $failing = static function () use ($bad): iterable {
            yield implode(iterator_to_array($bad()));
        };
        yield 'what a failure of a stream holds' => [static fn (): Reply => Reply::stream($failing())];
        yield 'no text of it' => [static fn () => throw $noText];
    }

    public function testABulkIsTakenApart(): void
    {
        $worker = new FakeWorker(FakeWorker::bulk(['a' => 'one', 'b' => '', 'c' => "three\0"]));
        $seen = [];
        $this->serve($worker, static function (Event $e) use (&$seen): Reply {
            $seen[] = "{$e->uuid} {$e->body}";

            return $e->uuid === 'b' ? throw new \RuntimeException('b fails') : Reply::write("<{$e->body}>");
        }, 'sorry');
        self::assertSame(['a one', 'b ', "c three\0"], $seen);
        $replies = ['a' => 'WRITE <one>', 'b' => 'WRITECLOSE sorry', 'c' => "WRITE <three\0>"];
        self::assertSame($replies, $worker->replies());
        self::assertStringContainsString('b fails', $this->log);
        self::assertTrue($worker->sent[count($worker->sent) - 1]->eos);
    }

    public function testWhatIsNoEventIsAnError(): void
    {
        $worker = new FakeWorker(
            new Payload('', '{'),
            FakeWorker::event(['event' => 'BULK', 'events' => [], 'sizes' => []]),
            FakeWorker::event(['event' => 'BULK', 'events' => [['uuid' => 'a']], 'sizes' => [1, 2]], 'abc'),
            FakeWorker::event(['event' => 'BULK', 'events' => [['uuid' => 'a']], 'sizes' => [2]], 'abc'),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a'], 'x'),
        );
        $this->serve($worker, static fn (Event $e): Reply => Reply::write($e->body));
        self::assertCount(5, $worker->sent);
        self::assertStringStartsWith('rrtcp/worker: Syntax error', $worker->sent[0]);
        self::assertSame('rrtcp/worker: a bulk needs events, and as many sizes', $worker->sent[1]);
        self::assertSame($worker->sent[1], $worker->sent[2]);
        self::assertSame('rrtcp/worker: the sizes of a bulk do not add up to its body', $worker->sent[3]);
        self::assertSame('x', $worker->sent[4]->body);
    }

    public function testAStreamIsFrames(): void
    {
        $worker = new FakeWorker(FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']));
        $this->serve($worker, static fn (): Reply => Reply::stream(['one', '', 'two'], close: true)->withState('s'));
        self::assertSame([
            [['reply' => 'WRITE', 'uuid' => 'a', 'state' => 's'], 'one', false],
            [['reply' => 'WRITE', 'uuid' => 'a'], 'two', false],
            [['reply' => 'WRITECLOSE', 'uuid' => 'a'], '', true],
        ], $worker->frames());

        $worker = new FakeWorker(FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']));
        $this->serve($worker, static fn (): Reply => Reply::stream([])->withState('s'));
        self::assertSame([[['reply' => 'WRITE', 'uuid' => 'a', 'state' => 's'], '', true]], $worker->frames());
    }

    public function testAStreamThatFailsIsEnded(): void
    {
        $worker = new FakeWorker(FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']));
        $this->serve($worker, static fn (): Reply => Reply::stream((static function (): iterable {
            yield 'one';
            throw new \RuntimeException('disk');
        })()), 'sorry');
        self::assertSame([
            [['reply' => 'WRITE', 'uuid' => 'a'], 'one', false],
            [['reply' => 'WRITECLOSE', 'uuid' => 'a'], 'sorry', true],
        ], $worker->frames());
        self::assertStringContainsString('disk', $this->log);
    }

    public function testAStreamEndsWhenItsClientIsGone(): void
    {
        $worker = new FakeWorker(
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'b'], 'next'),
        );
        $worker->pulled = [StreamStop::class];
        $worker->pulledAfter = 3;
        $ended = false;
        $endless = (static function () use (&$ended): iterable {
            try {
                while (true) {
                    yield 'x';
                }
            } finally {
                $ended = true;
                throw new \RuntimeException('while cleaning up');
            }
        });
        $this->serve($worker, static function (Event $e) use (&$ended, $endless): Reply {
            return $e->uuid === 'a' ? Reply::stream($endless()) : Reply::write($ended ? 'ended' : 'still there');
        });
        self::assertSame(['x', 'x', 'x', '', 'ended'], array_column($worker->frames(), 1));
        self::assertStringContainsString('while cleaning up', $this->log, 'and the worker goes on');
        self::assertSame([false, false, false, true, true], array_column($worker->frames(), 2));
    }

    public function testAStopDuringAStreamIsHeeded(): void
    {
        $worker = new FakeWorker(
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'a']),
            FakeWorker::event(['event' => 'DATA', 'uuid' => 'b']),
        );
        $worker->pulled = [WorkerStop::class];
        $this->serve($worker, static fn (): Reply => Reply::stream(['x']));
        self::assertSame(['x', ''], array_column($worker->frames(), 1), 'the stream is ended, b is not asked for');
    }

    private function serve(FakeWorker $worker, callable|object $handler, string|\Closure $lastWords = ''): void
    {
        $this->log = '';
        (new Server($worker, $lastWords, function (string $text): void {
            $this->log .= $text;
        }))->run($handler);
    }
}
