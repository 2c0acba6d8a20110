<?php

declare(strict_types=1);

/** A stand-in for spiral/roadrunner-worker 3, over the process' own pipes. */

namespace Spiral\RoadRunner {

    use Psr\Log\LoggerInterface;
    use Psr\Log\LoggerTrait;
    use Spiral\RoadRunner\Message\Command\GetProcessId;
    use Spiral\RoadRunner\Message\Command\Pong;
    use Spiral\RoadRunner\Message\Command\StreamStop;
    use Spiral\RoadRunner\Message\Command\WorkerStop;

    require_once dirname(__DIR__) . '/goridge.php';

    class Payload
    {
        public readonly string $body;
        public readonly string $header;

        public function __construct(?string $body, ?string $header = null, public readonly bool $eos = true)
        {
            $this->body = $body ?? '';
            $this->header = $header ?? '';
        }
    }

    interface WorkerInterface
    {
        public function waitPayload(): ?Payload;

        public function respond(Payload $payload): void;

        public function error(string $error): void;

        public function stop(): void;

        public function hasPayload(string $class = null): bool;

        public function getPayload(string $class = null): ?Payload;
    }

    interface StreamWorkerInterface extends WorkerInterface
    {
        public function withStreamMode(): static;
    }

    interface WorkerAwareInterface
    {
        public function getWorker(): WorkerInterface;
    }

    interface EnvironmentInterface
    {
        public function getMode(): string;

        public function getRelayAddress(): string;

        public function getRPCAddress(): string;
    }

    class Environment implements EnvironmentInterface
    {
        public function __construct(private array $env = [])
        {
        }

        public static function fromGlobals(): self
        {
            return new self([...$_ENV, ...$_SERVER]);
        }

        public function getMode(): string
        {
            return (string) ($this->env['RR_MODE'] ?? '');
        }

        public function getRelayAddress(): string
        {
            return (string) ($this->env['RR_RELAY'] ?? 'pipes');
        }

        public function getRPCAddress(): string
        {
            return (string) ($this->env['RR_RPC'] ?? 'tcp://127.0.0.1:6001');
        }
    }

    class Logger implements LoggerInterface
    {
        use LoggerTrait;

        public function log(mixed $level, string|\Stringable $message, array $context = []): void
        {
            fwrite(STDERR, "[php $level] $message");
        }
    }

    class Worker implements StreamWorkerInterface
    {
        private \Goridge $goridge;

        /** @var list<Payload> */
        private array $read = [];

        private LoggerInterface $logger;

        public static function create(bool $interceptSideEffects = true, LoggerInterface $logger = new Logger()): self
        {
            return self::createFromEnvironment(Environment::fromGlobals(), $interceptSideEffects, $logger);
        }

        public static function createFromEnvironment(
            EnvironmentInterface $env,
            bool $interceptSideEffects = true,
            LoggerInterface $logger = new Logger(),
        ): self {
            if ($interceptSideEffects) { // what a script echoes must not get between the frames on STDOUT
                ob_start(static function (string $output): string {
                    fwrite(STDERR, $output);

                    return '';
                }, 1);
            }
            $worker = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
            $worker->goridge = new \Goridge();
            $worker->logger = $logger;

            return $worker;
        }

        public function getLogger(): LoggerInterface
        {
            return $this->logger;
        }

        public function waitPayload(): ?Payload
        {
            while (true) {
                $payload = array_shift($this->read) ?? $this->next();
                if ($payload === null || $payload instanceof WorkerStop) {
                    return null;
                }
                if ($payload::class === Payload::class) {
                    return $payload;
                }
                if ($payload instanceof GetProcessId) {
                    $this->goridge->sendPid();
                }
            }
        }

        public function withStreamMode(): static
        {
            return clone $this;
        }

        public function respond(Payload $payload): void
        {
            $this->goridge->answer($payload->header, $payload->body, $payload->eos);
        }

        public function error(string $error): void
        {
            $this->goridge->error($error);
        }

        public function stop(): void
        {
            $this->goridge->answer('{"stop":true}');
        }

        public function hasPayload(string $class = null): bool
        {
            return $this->find($class) !== null;
        }

        public function getPayload(string $class = null): ?Payload
        {
            $at = $this->find($class);

            return $at === null ? null : array_splice($this->read, $at, 1)[0];
        }

        private function find(?string $class): ?int
        {
            while ($this->goridge->isReadable() && ($payload = $this->next()) !== null) {
                $this->read[] = $payload;
            }
            foreach ($this->read as $at => $payload) {
                if ($class === null || $payload::class === $class) {
                    return $at;
                }
            }

            return null;
        }

        private function next(): ?Payload
        {
            $frame = $this->goridge->frame();
            if ($frame === null) {
                return null;
            }
            [$flags, $options, $payload, $stream] = $frame;
            if ($flags & \Goridge::CONTROL) {
                $command = json_decode($payload, true, 8, JSON_THROW_ON_ERROR);

                return empty($command['stop']) ? new GetProcessId(null, $payload) : new WorkerStop(null, $payload);
            }
            if ($stream & \Goridge::STOP) {
                return new StreamStop($payload);
            }
            if ($stream & \Goridge::PONG) {
                return new Pong($payload);
            }
            $length = $options[0] ?? 0;

            return new Payload(substr($payload, $length), substr($payload, 0, $length));
        }
    }
}

namespace Spiral\RoadRunner\Message {

    interface ControlMessage
    {
    }

    interface SkipMessage
    {
    }
}

namespace Spiral\RoadRunner\Message\Command {

    use Spiral\RoadRunner\Message\ControlMessage;
    use Spiral\RoadRunner\Message\SkipMessage;
    use Spiral\RoadRunner\Payload;

    final class GetProcessId extends Payload implements ControlMessage
    {
    }

    final class Pong extends Payload implements SkipMessage
    {
    }

    final class StreamStop extends Payload implements SkipMessage
    {
    }

    final class WorkerStop extends Payload implements ControlMessage
    {
    }
}
