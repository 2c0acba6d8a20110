<?php

/**
 * A gateway for GPS trackers of two makes, each with a server of its own: Teltonika (codec 8) and GT06. Who a tracker
 * says it is goes with the connection as its state; each position is logged.
 */

declare(strict_types=1);

use Rrtcp\Worker\{Event, EventType, Reply, Server};

require __DIR__ . '/vendor/autoload.php';

/** The IMEI behind its length; a packet of records; a ping, which is one byte. */
function teltonika(string $packet, string $imei): Reply
{
    if (preg_match('/^\x00\x0f(\d{15})$/', $packet, $match) === 1) {
        return Reply::write("\x01")->withState($match[1]);
    }
    if ($imei === '' || !str_starts_with($packet, "\0\0\0\0") || strlen($packet) < 15) {
        return $packet === "\xff" ? Reply::continue() : Reply::close();
    }
    fwrite(STDERR, "teltonika $imei: " . ord($packet[9]) . " records\n");
    return Reply::write(pack('N', ord($packet[9])));
}

/** 78 78, a length, the kind of packet, what it holds, a serial number, a checksum, CR LF. The checksum is not verified. */
function gt06(string $packet, string $imei): Reply
{
    if (!str_starts_with($packet, "\x78\x78")) {
        return Reply::continue(); // 79 79: more about the device
    }
    $kind = ord($packet[3]);
    $answer = "\x05" . chr($kind) . substr($packet, -6, 2);
    $reply = Reply::write("\x78\x78$answer" . pack('n', crcX25($answer)) . "\r\n");
    if (in_array($kind, [0x12, 0x22], true)) { // a position: wants no answer
        fwrite(STDERR, "gt06 $imei: " . bin2hex(substr($packet, 4, 18)) . "\n");
    }
    return match ($kind) {
        0x01 => $reply->withState(substr(bin2hex(substr($packet, 4, 8)), 1)), // 16 digits, an IMEI has 15
        0x13 => $reply, // a heartbeat
        default => Reply::continue(),
    };
}

function crcX25(string $bytes): int
{
    for ($crc = 0xffff, $i = 0; $i < strlen($bytes); $i++) {
        $crc ^= ord($bytes[$i]);
        for ($bit = 0; $bit < 8; $bit++) {
            $crc = $crc & 1 ? $crc >> 1 ^ 0x8408 : $crc >> 1;
        }
    }
    return $crc ^ 0xffff;
}

(new Server())->run(static fn (Event $e): Reply =>
    $e->type !== EventType::Data || $e->eof ? Reply::continue() : ($e->server)($e->body, $e->state));
