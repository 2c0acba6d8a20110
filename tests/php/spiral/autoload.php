<?php

declare(strict_types=1);

/**
 * Stands in for Composer's vendor/autoload.php where packages cannot be downloaded: what examples/php use of
 * spiral/roadrunner-worker, spiral/roadrunner-tcp and spiral/goridge, under the same names, and nothing else.
 */

namespace Spiral\RoadRunner {

    require_once dirname(__DIR__) . '/goridge.php';

    final class Payload
    {
        public function __construct(
            public readonly string $body = '',
            public readonly string $header = '',
        ) {
        }
    }

    interface WorkerInterface
    {
        public function waitPayload(): ?Payload;

        public function respond(Payload $payload): void;

        public function error(string $error): void;
    }

    final class Worker implements WorkerInterface
    {
        private function __construct(private readonly \Goridge $goridge)
        {
        }

        public static function create(): self
        {
            // What a script echoes must not get between the frames on STDOUT.
            ob_start(static function (string $output): string {
                fwrite(STDERR, $output);

                return '';
            }, 1);

            return new self(new \Goridge());
        }

        public function waitPayload(): ?Payload
        {
            $exchange = $this->goridge->receive();

            return $exchange === null ? null : new Payload($exchange[1], $exchange[0]);
        }

        public function respond(Payload $payload): void
        {
            $this->goridge->answer($payload->header, $payload->body);
        }

        public function error(string $error): void
        {
            $this->goridge->error($error);
        }
    }
}

namespace Spiral\RoadRunner\Tcp {

    use Spiral\RoadRunner\Payload;
    use Spiral\RoadRunner\WorkerInterface;

    enum TcpEvent: string
    {
        case Connected = 'CONNECTED';
        case Data = 'DATA';
        case Close = 'CLOSE';
    }

    enum TcpResponse: string
    {
        case Read = 'CONTINUE';
        case Respond = 'WRITE';
        case RespondClose = 'WRITECLOSE';
        case Close = 'CLOSE';
    }

    final class TcpRequest
    {
        public function __construct(
            public readonly string $remoteAddr,
            public readonly TcpEvent $event,
            public readonly string $body,
            public readonly string $connectionUuid,
            public readonly string $server,
        ) {
        }
    }

    final class TcpWorker
    {
        public function __construct(private readonly WorkerInterface $worker)
        {
        }

        public function getWorker(): WorkerInterface
        {
            return $this->worker;
        }

        public function waitRequest(): ?TcpRequest
        {
            $payload = $this->worker->waitPayload();
            if ($payload === null) {
                return null;
            }
            $context = json_decode($payload->header, true, 8, JSON_THROW_ON_ERROR);

            return new TcpRequest(
                $context['remote_addr'],
                TcpEvent::from($context['event']),
                $payload->body,
                $context['uuid'],
                $context['server'],
            );
        }

        public function respond(string $body, TcpResponse $response = TcpResponse::Respond): void
        {
            $this->worker->respond(new Payload($body, $response->value));
        }

        public function read(): void
        {
            $this->respond('', TcpResponse::Read);
        }

        public function close(): void
        {
            $this->respond('', TcpResponse::Close);
        }
    }
}

namespace Spiral\Goridge\RPC {

    require_once dirname(__DIR__) . '/rpc.php';

    final class RPC
    {
        private function __construct(private readonly \Rpc $rpc)
        {
        }

        public static function create(string $connection): self
        {
            return new self(new \Rpc(substr($connection, strlen('unix://'))));
        }

        public function call(string $method, mixed $payload): mixed
        {
            return $this->rpc->call($method, $payload);
        }
    }
}
