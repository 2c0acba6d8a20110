<?php

declare(strict_types=1);

/** A stand-in for what apps use of spiral/goridge 4: RPC over a unix socket. */

namespace Spiral\Goridge\Exception {

    class GoridgeException extends \RuntimeException
    {
    }
}

namespace Spiral\Goridge\RPC {

    use Spiral\Goridge\Exception\GoridgeException;
    use Spiral\Goridge\RPC\Codec\JsonCodec;
    use Spiral\Goridge\RPC\Exception\CodecException;
    use Spiral\Goridge\RPC\Exception\ServiceException;

    require_once dirname(__DIR__) . '/rpc.php';

    interface CodecInterface
    {
        public function getIndex(): int;

        public function encode(mixed $payload): string;

        public function decode(string $payload, mixed $options = null): mixed;
    }

    interface RPCInterface
    {
        public function withServicePrefix(string $service): self;

        public function withCodec(CodecInterface $codec): self;

        public function call(string $method, mixed $payload, mixed $options = null): mixed;
    }

    class RPC implements RPCInterface
    {
        private \Rpc $rpc;
        private CodecInterface $codec;
        private string $prefix = '';

        public static function create(string $connection, CodecInterface $codec = new JsonCodec()): RPCInterface
        {
            $rpc = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
            $rpc->rpc = new \Rpc(substr($connection, strlen('unix://')));
            $rpc->codec = $codec;

            return $rpc;
        }

        public function withServicePrefix(string $service): self
        {
            $rpc = clone $this;
            $rpc->prefix = "$service.";

            return $rpc;
        }

        public function withCodec(CodecInterface $codec): self
        {
            $rpc = clone $this;
            $rpc->codec = $codec;

            return $rpc;
        }

        public function call(string $method, mixed $payload, mixed $options = null): mixed
        {
            try {
                return $this->codec->decode($this->rpc->callEncoded($this->prefix . $method, $this->codec->encode($payload)));
            } catch (CodecException $e) {
                throw $e;
            } catch (\UnexpectedValueException $e) {
                throw new GoridgeException($e->getMessage());
            } catch (\RuntimeException $e) {
                throw new ServiceException($e->getMessage());
            }
        }
    }
}

namespace Spiral\Goridge\RPC\Codec {

    use Spiral\Goridge\RPC\CodecInterface;
    use Spiral\Goridge\RPC\Exception\CodecException;

    final class JsonCodec implements CodecInterface
    {
        public function getIndex(): int
        {
            return 0x08;
        }

        public function encode(mixed $payload): string
        {
            try {
                return json_encode($payload, JSON_THROW_ON_ERROR);
            } catch (\JsonException $e) {
                throw new CodecException("Json encode: {$e->getMessage()}", $e->getCode(), $e);
            }
        }

        public function decode(string $payload, mixed $options = null): mixed
        {
            try {
                return json_decode($payload, true, 512, JSON_THROW_ON_ERROR | (is_int($options) ? $options : 0));
            } catch (\JsonException $e) {
                throw new CodecException("Json decode: {$e->getMessage()}", $e->getCode(), $e);
            }
        }
    }
}

namespace Spiral\Goridge\RPC\Exception {

    use Spiral\Goridge\Exception\GoridgeException;

    class CodecException extends \RuntimeException
    {
    }

    class RPCException extends GoridgeException
    {
    }

    class ServiceException extends RPCException
    {
    }
}
