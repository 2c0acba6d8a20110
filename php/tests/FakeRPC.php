<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use Spiral\Goridge\RPC\CodecInterface;
use Spiral\Goridge\RPC\RPCInterface;

/** RoadRunner's RPC, with answers that are given. */
final class FakeRPC implements RPCInterface
{
    /** @var list<array{string, mixed}> */
    public array $calls = [];

    /** @var list<mixed> */
    private array $answers;

    public function __construct(mixed ...$answers)
    {
        $this->answers = array_values($answers);
    }

    public function withServicePrefix(string $service): self
    {
        return $this;
    }

    public function withCodec(CodecInterface $codec): self
    {
        return $this;
    }

    public function call(string $method, mixed $payload, mixed $options = null): mixed
    {
        $this->calls[] = [$method, $payload];

        return array_shift($this->answers);
    }
}
