<?php

declare(strict_types=1);

/** A stand-in for spiral/roadrunner-tcp 4. */

namespace Spiral\RoadRunner\Tcp;

use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\WorkerAwareInterface;
use Spiral\RoadRunner\WorkerInterface;

enum TcpEvent: string
{
    case Connected = 'CONNECTED';
    case Data = 'DATA';
    case Close = 'CLOSE';
    case Unknown = 'UNKNOWN';
}

enum TcpResponse: string
{
    case Close = 'CLOSE';
    case Respond = 'WRITE';
    case RespondClose = 'WRITECLOSE';
    case Read = 'CONTINUE';
}

interface RequestInterface
{
    public function getRemoteAddress(): string;

    public function getEvent(): TcpEvent;

    public function getBody(): string;

    public function getConnectionUuid(): string;

    public function getServer(): string;
}

final class Request implements RequestInterface
{
    public function __construct(
        private readonly string $remoteAddr,
        private readonly TcpEvent $event,
        private readonly string $body,
        private readonly string $connectionUuid,
        private readonly string $server,
    ) {
    }

    public function getRemoteAddress(): string
    {
        return $this->remoteAddr;
    }

    public function getEvent(): TcpEvent
    {
        return $this->event;
    }

    public function getBody(): string
    {
        return $this->body;
    }

    public function getConnectionUuid(): string
    {
        return $this->connectionUuid;
    }

    public function getServer(): string
    {
        return $this->server;
    }
}

interface TcpWorkerInterface extends WorkerAwareInterface
{
    public function waitRequest(): ?RequestInterface;

    public function respond(string $body, TcpResponse $response = TcpResponse::Respond): void;

    public function close(): void;

    public function read(): void;
}

class TcpWorker implements TcpWorkerInterface
{
    public function __construct(private readonly WorkerInterface $worker)
    {
    }

    public function getWorker(): WorkerInterface
    {
        return $this->worker;
    }

    public function waitRequest(): ?RequestInterface
    {
        $payload = $this->worker->waitPayload();
        if ($payload === null) {
            $this->close();

            return null;
        }
        $context = json_decode($payload->header, true, 512, JSON_THROW_ON_ERROR);

        return new Request(
            $context['remote_addr'],
            TcpEvent::tryFrom($context['event']) ?? TcpEvent::Unknown,
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
