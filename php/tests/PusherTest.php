<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Connection;
use Rrtcp\Worker\Pusher;
use Rrtcp\Worker\PushResult;
use Spiral\Goridge\Exception\GoridgeException;
use Spiral\Goridge\RPC\Exception\ServiceException;

final class PusherTest extends TestCase
{
    public function testWriteCloseAndTag(): void
    {
        $rpc = new FakeRPC('accepted', 'full', true, 'gone');
        $pusher = new Pusher($rpc);
        self::assertSame(PushResult::Accepted, $pusher->write('u', "\xff\r\n"));
        self::assertSame(PushResult::Full, $pusher->write('u', 'bye', close: true));
        $pusher->close('u');
        self::assertSame(PushResult::Gone, $pusher->tag('u', add: [7 => 'a']));
        self::assertSame([
            ['tcp.Write', ['uuid' => 'u', 'body' => '/w0K']],
            ['tcp.Write', ['uuid' => 'u', 'body' => 'Ynll', 'close' => true]],
            ['tcp.Close', 'u'],
            ['tcp.Tag', ['uuid' => 'u', 'add' => ['a'], 'remove' => []]],
        ], $rpc->calls);
    }

    public function testItConnectsAgain(): void
    {
        $socket = sys_get_temp_dir() . '/rrtcp' . bin2hex(random_bytes(6));
        $command = [PHP_BINARY, __DIR__ . '/shortRPC.php', $socket];
        $roadRunner = proc_open($command, [1 => ['pipe', 'w'], 2 => STDERR], $pipes);
        self::assertIsResource($roadRunner);
        try {
            self::assertSame("listens\n", fgets($pipes[1]));
            $pusher = Pusher::create("unix://$socket");
            self::assertSame(PushResult::Accepted, $pusher->write('u', 'one'));
            self::assertSame("closes\n", fgets($pipes[1]));
            try {
                @$pusher->write('u', 'lost');
                self::fail('nobody knows what became of it');
            } catch (GoridgeException $e) {
                self::assertNotInstanceOf(ServiceException::class, $e);
            }
            self::assertSame(PushResult::Accepted, $pusher->write('u', 'two'));
        } finally {
            proc_terminate($roadRunner);
            proc_close($roadRunner);
            @unlink($socket);
        }
    }

    public function testBroadcast(): void
    {
        $rpc = new FakeRPC(['accepted' => 3, 'gone' => 1, 'full' => 2], ['accepted' => 0], ['accepted' => 1]);
        $counts = (new Pusher($rpc))->broadcast('x', tag: 't', server: 's');
        self::assertSame([3, 1, 2], [$counts->accepted, $counts->gone, $counts->full]);
        (new Pusher($rpc))->broadcast('x', uuids: []);
        (new Pusher($rpc))->broadcast('x', uuids: [7 => 'u']);
        self::assertSame([
            ['tcp.Broadcast', ['tag' => 't', 'server' => 's', 'body' => 'eA==']],
            ['tcp.Broadcast', ['uuids' => [], 'body' => 'eA==']],
            ['tcp.Broadcast', ['uuids' => ['u'], 'body' => 'eA==']],
        ], $rpc->calls, 'an empty list is nobody, no list is everybody');
    }

    public function testAnEmptyConditionIsRefused(): void
    {
        $rpc = new FakeRPC();
        $pusher = new Pusher($rpc);
        $calls = [
            'it would reach the whole server' => static fn () => $pusher->broadcast('x', tag: '', server: 's'),
            'it would reach all with the tag' => static fn () => $pusher->broadcast('x', tag: 't', server: ''),
            'it would list all' => static fn () => $pusher->connections(tag: ''),
            'it would list those of any' => static fn () => $pusher->connections(server: ''),
        ];
        foreach ($calls as $why => $call) {
            try {
                $call();
                self::fail($why);
            } catch (\InvalidArgumentException) {
                self::assertSame([], $rpc->calls);
            }
        }
    }

    public function testLocalAsksNoOtherNode(): void
    {
        $numbers = ['connections', 'tags', 'exchanges_waiting', 'buffered_bytes', 'memory_limit'];
        $rpc = new FakeRPC('gone', ['accepted' => 0], 'gone', ['connections' => []], array_fill_keys($numbers, 0));
        $pusher = new Pusher($rpc);
        $pusher->write('u', 'x', local: true);
        $pusher->broadcast('x', tag: '0', local: true);
        $pusher->tag('u', local: true);
        iterator_to_array($pusher->connections(local: true));
        $pusher->stats(local: true);
        self::assertSame([
            ['tcp.Write', ['uuid' => 'u', 'body' => 'eA==', 'local' => true]],
            ['tcp.Broadcast', ['tag' => '0', 'local' => true, 'body' => 'eA==']],
            ['tcp.Tag', ['uuid' => 'u', 'add' => [], 'remove' => [], 'local' => true]],
            ['tcp.Connections', ['local' => true, 'limit' => 100, 'after' => '']],
            ['tcp.LocalStats', true],
        ], $rpc->calls);
    }

    public function testConnectionsComePageByPage(): void
    {
        $one = static fn (string $uuid): array => [
            'uuid' => $uuid, 'server' => 's', 'remote_addr' => '192.0.2.1:7', 'connected_at' => '2024-01-02T03:04:05Z',
            'bytes' => 1, 'bytes_written' => 2, 'packets' => 3, 'tags' => ['t'], 'state' => 'reading',
        ];
        $rpc = new FakeRPC(
            ['connections' => [$one('a'), $one('b')], 'next' => 'b'],
            ['connections' => [$one('c')], 'next' => ''],
        );
        $found = [];
        foreach ((new Pusher($rpc))->connections(tag: 't', pageSize: 2) as $connection) {
            self::assertInstanceOf(Connection::class, $connection);
            self::assertSame('2024-01-02 03:04:05', $connection->connectedAt->format('Y-m-d H:i:s'));
            $found[] = $connection->uuid;
            self::assertCount($connection->uuid === 'c' ? 2 : 1, $rpc->calls, 'a page is asked for when it is needed');
        }
        self::assertSame(['a', 'b', 'c'], $found);
        self::assertSame([
            ['tcp.Connections', ['tag' => 't', 'limit' => 2, 'after' => '']],
            ['tcp.Connections', ['tag' => 't', 'limit' => 2, 'after' => 'b']],
        ], $rpc->calls);
    }

    public function testStats(): void
    {
        $rpc = new FakeRPC([
            'connections' => 5, 'servers' => ['s' => 5], 'tags' => 1, 'exchanges_waiting' => 2, 'buffered_bytes' => 3,
            'memory_limit' => 4, 'pushes' => ['accepted' => 6, 'gone' => 0, 'full' => 0], 'version' => '0.9.0',
        ]);
        $stats = (new Pusher($rpc))->stats();
        self::assertSame([5, ['s' => 5], 2, 6, '0.9.0'], [
            $stats->connections, $stats->servers, $stats->exchangesWaiting, $stats->pushes->accepted, $stats->version,
        ]);
        self::assertSame([['tcp.Stats', true]], $rpc->calls);
    }

    public function testStatsOfACluster(): void
    {
        $one = [
            'connections' => 5, 'servers' => ['s' => 5], 'tags' => 1, 'exchanges_waiting' => 2, 'buffered_bytes' => 3,
            'memory_limit' => 4, 'pushes' => ['accepted' => 6, 'gone' => 0, 'full' => 0], 'version' => '0.9.0',
            'traffic' => ['s' => ['packets' => 1, 'received' => 2, 'sent' => 3, 'exchanges' => [1, 0, 0]]],
            'exchange_bounds' => [0.5, 1],
        ];
        $rpc = new FakeRPC($one + ['nodes' => ['0102030405ff' => $one], 'unreachable' => 1]);
        $stats = (new Pusher($rpc))->stats();
        self::assertSame([[0.5, 1.0], 1], [$stats->exchangeBounds, $stats->unreachable]);
        foreach ([$stats, $stats->nodes['0102030405ff']] as $part) {
            $traffic = $part->traffic['s'];
            $numbers = [$traffic->packets, $traffic->received, $traffic->sent, $traffic->exchanges];
            self::assertSame([1, 2, 3, [1, 0, 0]], $numbers);
        }
    }

    public function testNodes(): void
    {
        $rpc = new FakeRPC(['connected' => true, 'nodes' => [[
            'node' => '0102030405ff', 'self' => true, 'version' => 'v1.0.0', 'host' => 'web-1',
            'address' => 'tcp://[::]:7000', 'connections' => 3,
            'uptime' => 60, 'last_heard' => '2026-01-02T03:04:05.678Z',
        ]]]);
        [$node] = (new Pusher($rpc))->nodes();
        self::assertSame(['0102030405ff', true, 3, '05.678'], [
            $node->id, $node->self, $node->connections, $node->lastHeard->format('s.v'),
        ]);
        self::assertSame([['tcp.Nodes', true]], $rpc->calls);
    }

    public function testUnreachable(): void
    {
        $answer = ['accepted' => 1, 'gone' => 0, 'full' => 0, 'nodes' => 2, 'unreachable' => 1];
        $pusher = new Pusher(new FakeRPC('unreachable', $answer));
        self::assertSame(PushResult::Unreachable, $pusher->write('u', 'x'));
        $counts = $pusher->broadcast('x', tag: 't');
        self::assertSame([1, 2, 1], [$counts->accepted, $counts->nodes, $counts->unreachable]);

        $pages = [['next' => 'a', 'unreachable' => 1], ['next' => 'b'], ['unreachable' => 1], ['connections' => []]];
        $pusher = new Pusher(new FakeRPC(...$pages));
        foreach ([1, 0] as $unreachable) {
            $connections = $pusher->connections();
            self::assertSame([], iterator_to_array($connections));
            self::assertSame($unreachable, $connections->getReturn());
        }
    }
}
