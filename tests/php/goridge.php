<?php

declare(strict_types=1);

/**
 * The worker's side of RoadRunner's protocol over STDIN and STDOUT, without any dependency.
 *
 * A frame is a header of 12 bytes, up to 10 options of 4 bytes, then the payload; numbers are little endian:
 *
 *      0      version (1) in the high half, header length in 4-byte words in the low half
 *      1      flags
 *      2-5    payload length
 *      6-9    CRC32 of bytes 0-5
 *      10     stream flags: 1 more frames follow, 2 stop streaming, 4 ping, 8 pong
 *      11     unused
 *
 * Frames that carry an exchange have one option: the length of the context, which comes before the body.
 */
final class Goridge
{
    public const CONTROL = 0x01;
    public const STOP = 0x02;
    public const PONG = 0x08;
    private const STREAM = 0x01;
    private const JSON = 0x08;
    private const ERROR = 0x40;

    /** @var resource */
    private $in;
    /** @var resource */
    private $out;

    /**
     * @param resource $in
     * @param resource $out
     */
    public function __construct($in = STDIN, $out = STDOUT)
    {
        // STDOUT carries frames: a warning printed there would break the protocol.
        ini_set('display_errors', 'stderr');

        $this->in = $in;
        $this->out = $out;
    }

    /**
     * Waits for the next exchange. The handshake is answered on the way.
     *
     * @return array{string, string}|null context and body, or null when RoadRunner wants the worker to stop
     */
    public function receive(): ?array
    {
        while (($frame = $this->frame()) !== null) {
            [$flags, $options, $payload] = $frame;

            if (($flags & self::CONTROL) === 0) {
                $contextLength = $options[0] ?? 0;

                return [substr($payload, 0, $contextLength), substr($payload, $contextLength)];
            }

            $control = json_decode($payload, true);
            if (!is_array($control) || !empty($control['stop'])) {
                return null;
            }
            if (isset($control['pid'])) {
                $this->sendPid();
            }
        }

        return null;
    }

    /** @param bool $isLast whether no more frames of this answer follow */
    public function answer(string $context, string $body = '', bool $isLast = true): void
    {
        $this->writeFrame(0, [strlen($context)], $context . $body, $isLast ? 0 : self::STREAM);
    }

    public function sendPid(): void
    {
        $this->writeFrame(self::CONTROL | self::JSON, [], json_encode(['pid' => getmypid()]));
    }

    /** Whether frame() has something to read. */
    public function isReadable(): bool
    {
        $read = [$this->in];
        $none = null;

        return stream_select($read, $none, $none, 0) === 1;
    }

    public function error(string $message): void
    {
        $this->writeFrame(self::ERROR, [], $message);
    }

    /**
     * Waits for the next frame.
     *
     * @return array{int, list<int>, string, int}|null flags, options, payload and stream flags, or null at the end of the
     *     stream
     */
    public function frame(): ?array
    {
        $header = $this->readExactly(12);
        if ($header === null) {
            return null;
        }

        $fields = unpack('Cversion/Cflags/Vlength/Vcrc/Cstream', $header);
        if ($fields['version'] >> 4 !== 1 || $fields['crc'] !== crc32(substr($header, 0, 6))) {
            throw new RuntimeException('this is not a goridge frame: ' . bin2hex($header));
        }

        $words = ($fields['version'] & 0x0F) - 3;
        $options = $words > 0 ? $this->readExactly($words * 4) : '';
        $payload = $this->readExactly($fields['length']);
        if ($options === null || $payload === null) {
            return null;
        }

        $options = $options === '' ? [] : array_values(unpack('V*', $options));

        return [$fields['flags'], $options, $payload, $fields['stream']];
    }

    /**
     * @param list<int> $options
     */
    private function writeFrame(int $flags, array $options, string $payload, int $stream = 0): void
    {
        $start = pack('CCV', 0x10 | (3 + count($options)), $flags, strlen($payload));
        $frame = $start . pack('VCC', crc32($start), $stream, 0);
        $frame .= ($options === [] ? '' : pack('V*', ...$options)) . $payload;

        while ($frame !== '') {
            $written = fwrite($this->out, $frame);
            if ($written === false || $written === 0) {
                exit(1); // RoadRunner is gone
            }
            $frame = substr($frame, $written);
        }
        fflush($this->out);
    }

    /** Reads $length bytes, however many reads that takes; null when the stream ends before. */
    private function readExactly(int $length): ?string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $chunk = fread($this->in, $length - strlen($bytes));
            if ($chunk === false || $chunk === '') {
                return null;
            }
            $bytes .= $chunk;
        }

        return $bytes;
    }
}
