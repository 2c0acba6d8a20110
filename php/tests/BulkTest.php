<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Event;
use Rrtcp\Worker\Internal\Bulk;
use Rrtcp\Worker\Internal\Handler;
use Rrtcp\Worker\Reply;

/** Which replies go together. The clock is the test's: the body of an event says how many milliseconds it takes. */
final class BulkTest extends TestCase
{
    private int $now = 0;

    private FakeWorker $worker;

    private Bulk $bulk;

    /** @var list<string> */
    private array $failures = [];

    protected function setUp(): void
    {
        $this->worker = new FakeWorker();
        $handler = new Handler(function (Event $event): Reply {
            $this->now += (int) ((float) $event->body * 1e6);

            return str_starts_with($event->uuid, 'stream')
                ? Reply::stream($this->chunks($event->uuid))->withState('s')->withTags(['t'])
                : Reply::write('ok');
        }, 'sorry', function (Event $event, \Throwable $e): void {
            $this->failures[] = $e->getMessage();
        });
        $this->bulk = new Bulk($this->worker, $handler, fn (): int => $this->now);
    }

    public function testFastOnesGoAsOneFrame(): void
    {
        self::assertSame([[3, true]], $this->answer('1', '1', '1'));
    }

    public function testNothingWaitsForMoreThanFiveMilliseconds(): void
    {
        self::assertSame([[3, false], [3, false], [1, true]], $this->answer('2', '2', '2', '2', '2', '2', '2'));
    }

    public function testASlowOneHoldsUpThoseBehindIt(): void
    {
        self::assertSame([[2, false], [2, true]], $this->answer('1', '30', '1', '1'));
    }

    public function testAfterASlowOneNobodyWaitsForTheNext(): void
    {
        $this->answer('1', '30', '1');
        self::assertSame([[1, false], [1, false], [1, true]], $this->answer('1', '1', '1'), 'one by one');
        self::assertSame([[3, true]], $this->answer('1', '1', '1'), 'and together again: none was slow');
    }

    public function testManyBytesDoNotWait(): void
    {
        self::assertSame([[1, false], [2, true]], $this->answerBulk(['stream-2' => '0', 'b' => '0', 'c' => '0']));
    }

    public function testAStreamIsCollected(): void
    {
        $this->answerBulk(['stream-0' => '0', 'b' => '0']);
        self::assertSame(['stream-0' => 'WRITE beginend', 'b' => 'WRITE ok'], $this->worker->replies());
    }

    public function testALargeStreamIsRefused(): void
    {
        $this->answerBulk(['stream-9' => '0', 'b' => '0']);
        self::assertSame(['stream-9' => 'WRITECLOSE sorry', 'b' => 'WRITE ok'], $this->worker->replies());
        self::assertSame(['a streamed answer has more than 8 MiB: leave tcp.bulk off for those'], $this->failures);
    }

    public function testAStreamThatFailsIsWhatItIsAlone(): void
    {
        $this->answerBulk(['stream-fails' => '0', 'b' => '0']);
        self::assertSame(['stream-fails' => 'WRITECLOSE beginsorry', 'b' => 'WRITE ok'], $this->worker->replies());
        self::assertSame(['disk'], $this->failures);
        [$reply] = $this->worker->frames()[0][0]['replies'];
        self::assertSame(['s', ['t']], [$reply['state'], $reply['tags']], 'CLOSE has them');
    }

    public function testAChunkThatIsNoStringIsAFailure(): void
    {
        $this->answerBulk(['stream-null' => '0', 'b' => '0']);
        self::assertSame(['stream-null' => 'WRITECLOSE beginsorry', 'b' => 'WRITE ok'], $this->worker->replies());
        self::assertCount(1, $this->failures);
    }

    public function testAStreamThatFailsAgainAsItIsLeftAloneIsNoConcernOfTheOthers(): void
    {
        $this->answerBulk(['stream-cleans-9' => '0', 'b' => '0']);
        self::assertSame(['stream-cleans-9' => 'WRITECLOSE sorry', 'b' => 'WRITE ok'], $this->worker->replies());
        self::assertSame('while cleaning up', $this->failures[1]);
    }

    /** @return iterable<string> so many MiB */
    private function chunks(string $uuid): iterable
    {
        try {
            yield 'begin';
            if ($uuid === 'stream-fails') {
                throw new \RuntimeException('disk');
            }
            if ($uuid === 'stream-null') {
                yield null;
            }
            for ($i = (int) substr($uuid, -1); $i > 0; $i--) {
                yield str_repeat('x', 1 << 20);
            }
            yield 'end';
        } finally {
            if ($uuid === 'stream-cleans-9') {
                throw new \RuntimeException('while cleaning up');
            }
        }
    }

    /** @return list<array{int, bool}> frames: how many replies, and whether it is the last */
    private function answer(string ...$times): array
    {
        return $this->answerBulk(array_combine(range('a', chr(ord('a') + count($times) - 1)), $times));
    }

    /**
     * @param array<string, string> $times by uuid
     *
     * @return list<array{int, bool}>
     */
    private function answerBulk(array $times): array
    {
        $this->worker->sent = [];
        $payload = FakeWorker::bulk($times);
        $this->bulk->answer(Bulk::events(json_decode($payload->header, true), $payload->body));

        return array_map(static fn (array $f): array => [count($f[0]['replies']), $f[2]], $this->worker->frames());
    }
}
