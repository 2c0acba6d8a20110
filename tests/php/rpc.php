<?php

declare(strict_types=1);

/**
 * RoadRunner's RPC over a unix socket, with JSON, without any dependency: what Spiral\Goridge\RPC\RPC does.
 *
 * A call is a frame with two options: a number, which comes back in the answer, and the length of the method's name,
 * which comes before the argument.
 */
final class Rpc
{
    private const ERROR = 0x40;
    private const JSON = 0x08;

    /** @var resource */
    private $socket;
    private int $calls = 0;

    public function __construct(string $path)
    {
        $socket = stream_socket_client("unix://$path", $code, $message, 10);
        if ($socket === false) {
            throw new RuntimeException("$path: $message");
        }
        stream_set_timeout($socket, 20);
        $this->socket = $socket;
    }

    /** @return mixed */
    public function call(string $method, mixed $argument): mixed
    {
        $answer = $this->callEncoded($method, json_encode($argument, JSON_THROW_ON_ERROR));

        return json_decode($answer, true, 8, JSON_THROW_ON_ERROR);
    }

    public function callEncoded(string $method, string $argument): string
    {
        $payload = $method . $argument;
        $start = pack('CCV', 0x15, self::JSON, strlen($payload));
        $frame = $start . pack('V', crc32($start)) . "\0\0" . pack('VV', ++$this->calls, strlen($method)) . $payload;
        while ($frame !== '') {
            $written = fwrite($this->socket, $frame) ?: throw new UnexpectedValueException('RoadRunner is gone');
            $frame = substr($frame, $written);
        }

        $header = unpack('Cversion/Cflags/Vlength', $this->read(12));
        $options = unpack('Vcall/Vmethod', $this->read(8));
        $answer = substr($this->read($header['length']), $options['method']);
        if ($header['flags'] & self::ERROR || $options['call'] !== $this->calls) {
            throw new RuntimeException("$method: $answer");
        }

        return $answer;
    }

    private function read(int $length): string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $chunk = fread($this->socket, $length - strlen($bytes));
            if ($chunk === false || $chunk === '') {
                throw new UnexpectedValueException('RoadRunner is gone');
            }
            $bytes .= $chunk;
        }

        return $bytes;
    }
}
