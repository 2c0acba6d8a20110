<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

use Spiral\Goridge\RPC\Codec\JsonCodec;
use Spiral\Goridge\RPC\Exception\CodecException;
use Spiral\Goridge\RPC\Exception\ServiceException;
use Spiral\Goridge\RPC\RPC;
use Spiral\Goridge\RPC\RPCInterface;
use Spiral\RoadRunner\Environment;

/**
 * Reaches any connection from anywhere in an app, over RoadRunner's RPC. No call waits for a client or a worker.
 *
 * Every method throws Spiral\Goridge\RPC\Exception\ServiceException where RoadRunner refuses the arguments. Where the
 * connection to RoadRunner is lost it throws another exception, and the call may have been done. The next call connects
 * again, if the pusher is one of create().
 */
final class Pusher
{
    /** Null: the connection is lost, and the next call makes another one. */
    private ?RPCInterface $rpc;

    /** @var (\Closure(): RPCInterface)|null */
    private ?\Closure $connect = null;

    public function __construct(RPCInterface $rpc)
    {
        $this->rpc = $rpc->withCodec(new JsonCodec());
    }

    /** @param string|null $address of RoadRunner's rpc; null: RR_RPC of the environment, which workers have */
    public static function create(?string $address = null): self
    {
        $address ??= Environment::fromGlobals()->getRPCAddress();
        $connect = static fn (): RPCInterface => RPC::create($address, new JsonCodec());
        $pusher = new self($connect());
        $pusher->connect = $connect;

        return $pusher;
    }

    /**
     * Sends bytes to a client, whole and never inside of an answer, in the order of calls.
     *
     * @param bool $close ends the connection behind them
     * @param bool $local asks no other node of a cluster; so it does in the other methods
     */
    public function write(string $uuid, string $bytes, bool $close = false, bool $local = false): PushResult
    {
        $request = ['uuid' => $uuid, 'body' => base64_encode($bytes)];
        $request += array_filter(['close' => $close, 'local' => $local]);

        return PushResult::from($this->call('tcp.Write', $request));
    }

    /**
     * Cuts a connection off, with what waits for its client. It may be gone already. Where its node is unreachable this
     * throws.
     */
    public function close(string $uuid): void
    {
        $this->call('tcp.Close', $uuid);
    }

    /**
     * Sends bytes to all connections that fit all that is given: at least one of the three.
     *
     * @param string[]|null $uuids an empty list is nobody
     */
    public function broadcast(
        string $bytes,
        ?string $tag = null,
        ?string $server = null,
        ?array $uuids = null,
        bool $local = false,
    ): PushCounts {
        $uuids = $uuids === null ? null : array_values($uuids);
        $request = self::given($tag, $server, $local) + ($uuids === null ? [] : ['uuids' => $uuids]);

        return PushCounts::fromArray($this->call('tcp.Broadcast', $request + ['body' => base64_encode($bytes)]));
    }

    /**
     * Adds and removes single tags; Reply::withTags() sets them all.
     *
     * @param string[] $add
     * @param string[] $remove
     */
    public function tag(string $uuid, array $add = [], array $remove = [], bool $local = false): PushResult
    {
        $request = ['uuid' => $uuid, 'add' => array_values($add), 'remove' => array_values($remove)];
        $request += array_filter(['local' => $local]);

        return PushResult::from($this->call('tcp.Tag', $request));
    }

    /**
     * All open connections that fit, in the order of their uuids. Pages are asked for as they are needed.
     *
     * What the generator returns in the end, getReturn(), is how many nodes of a cluster at least could not be reached:
     * their connections are missing.
     *
     * @return \Generator<int, Connection, mixed, int>
     */
    public function connections(
        ?string $server = null,
        ?string $tag = null,
        int $pageSize = 100,
        bool $local = false,
    ): \Generator {
        return $this->pages(self::given($tag, $server, $local) + ['limit' => $pageSize, 'after' => '']);
    }

    public function stats(bool $local = false): Stats
    {
        return Stats::fromArray($this->call($local ? 'tcp.LocalStats' : 'tcp.Stats', true));
    }

    /**
     * The nodes of the cluster; without one this node alone.
     *
     * @return list<Node>
     */
    public function nodes(): array
    {
        return array_map(Node::fromArray(...), array_values($this->call('tcp.Nodes', true)['nodes'] ?? []));
    }

    private function call(string $method, mixed $argument): mixed
    {
        $this->rpc ??= ($this->connect)();
        try {
            return $this->rpc->call($method, $argument);
        } catch (ServiceException | CodecException $e) {
            throw $e;
        } catch (\Throwable $e) {
            if ($this->connect !== null) { // goridge itself goes on with the connection that is lost
                $this->rpc = null;
            }
            throw $e;
        }
    }

    /**
     * @param array<string, mixed> $request
     *
     * @return \Generator<int, Connection, mixed, int>
     */
    private function pages(array $request): \Generator
    {
        $unreachable = 0;
        do {
            $page = $this->call('tcp.Connections', $request);
            foreach ($page['connections'] ?? [] as $connection) {
                yield Connection::fromArray($connection);
            }
            $unreachable = max($unreachable, $page['unreachable'] ?? 0);
            $request['after'] = $page['next'] ?? '';
        } while ($request['after'] !== '');

        return $unreachable;
    }

    /** @return array<string, string|true> */
    private static function given(?string $tag, ?string $server, bool $local): array
    {
        if ($tag === '' || $server === '') {
            throw new \InvalidArgumentException('an empty tag or server is no condition for RoadRunner: null says so');
        }

        $request = ['tag' => $tag, 'server' => $server, 'local' => $local ?: null];

        return array_filter($request, static fn (mixed $value): bool => $value !== null);
    }
}
