<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Event;
use Rrtcp\Worker\EventType;
use Rrtcp\Worker\Reason;

final class EventTest extends TestCase
{
    public function testItHasAllKeys(): void
    {
        $context = [
            'remote_addr' => '192.0.2.7:50124', 'server' => 'smtp', 'uuid' => 'u-1', 'event' => 'CONNECTED',
            'local_addr' => '192.0.2.1:25', 'tls' => ['version' => '1.3'], 'proxy' => ['authority' => 'x'], 'new' => 1,
        ];
        $event = Event::fromContext($context, '');
        self::assertSame(EventType::Connected, $event->type);
        self::assertSame('u-1', $event->uuid);
        self::assertSame('smtp', $event->server);
        self::assertSame('192.0.2.7:50124', $event->remoteAddress);
        self::assertSame('192.0.2.1:25', $event->localAddress);
        self::assertSame(['version' => '1.3'], $event->tls);
        self::assertSame(['authority' => 'x'], $event->proxy);
        self::assertSame($context, $event->context);
        self::assertSame('', $event->state);
        self::assertFalse($event->eof);
        self::assertFalse($event->truncated);
        self::assertFalse($event->canStartTls);
        self::assertNull($event->reason);
        self::assertTrue(Event::fromContext(['event' => 'CONNECTED', 'starttls' => true], '')->canStartTls);

        $event = Event::fromContext(['event' => 'SECURED', 'tls' => ['version' => '1.2']], '');
        self::assertSame(EventType::Secured, $event->type);
        self::assertSame(['version' => '1.2'], $event->tls);
        self::assertTrue(Event::fromContext(['event' => 'DATA', 'truncated' => true], 'x')->truncated);

        $event = Event::fromContext(['event' => 'DATA', 'eof' => true, 'state' => '{"a":[1]}'], "tail\0");
        self::assertSame(EventType::Data, $event->type);
        self::assertSame("tail\0", $event->body);
        self::assertTrue($event->eof);
        self::assertSame(['a' => [1]], $event->stateArray());

        $event = Event::fromContext([
            'event' => 'CLOSE', 'reason' => 'too_long', 'bytes_read' => 7, 'bytes_written' => 8, 'seconds' => 2,
            'unfinished' => 9, 'discarded' => 10,
        ], '');
        self::assertSame(EventType::Close, $event->type);
        self::assertSame(Reason::TooLong, $event->reason);
        self::assertSame([7, 8, 2.0], [$event->bytesRead, $event->bytesWritten, $event->seconds]);
        self::assertSame([9, 10], [$event->unfinished, $event->discarded]);
        self::assertSame([], $event->stateArray());
    }

    public function testWhatIsNewerIsUnknown(): void
    {
        $event = Event::fromContext(['event' => 'HELLO', 'reason' => 'boredom'], '');
        self::assertSame(EventType::Unknown, $event->type);
        self::assertSame(Reason::Unknown, $event->reason);
        self::assertSame(EventType::Close, Event::fromContext(['event' => 'CLOSED'], '')->type);
    }

    /** @dataProvider addresses */
    public function testHostAndPort(string $address, string $host, ?int $port): void
    {
        $event = Event::fromContext(['remote_addr' => $address], '');
        self::assertSame([$host, $port], [$event->host, $event->port]);
    }

    /** @return iterable<array{string, string, int|null}> */
    public static function addresses(): iterable
    {
        yield ['127.0.0.1:50124', '127.0.0.1', 50124];
        yield ['[::1]:50124', '::1', 50124];
        yield ['[fe80::1%eth0]:7', 'fe80::1%eth0', 7];
        yield ['@', '@', null];
        yield ['127.0.0.1', '127.0.0.1', null];
        yield ['2001:db8::1', '2001:db8::1', null];
        yield ['', '', null];
    }

    public function testEveryReasonOfTheGuideIsKnown(): void
    {
        $guide = file_get_contents(dirname(__DIR__, 2) . '/docs/worker.md');
        self::assertSame(1, preg_match('/^## Reasons\n(.*?)^## /ms', $guide, $chapter));
        self::assertGreaterThan(10, preg_match_all('/^\| `([a-z_]+)` \|/m', $chapter[1], $reasons));
        foreach ($reasons[1] as $reason) {
            self::assertNotNull(Reason::tryFrom($reason), $reason);
        }
    }
}
