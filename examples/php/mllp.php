<?php

/**
 * Takes HL7 messages over MLLP, as a hospital's systems send them: logs each, and acknowledges it (AA). What is no
 * HL7 is refused (AR).
 */

declare(strict_types=1);

use Rrtcp\Worker\{Event, EventType, Reply, Server};

require __DIR__ . '/vendor/autoload.php';

(new Server())->run(static function (Event $event): Reply {
    if ($event->type !== EventType::Data || $event->eof) {
        return Reply::continue();
    }
    $message = trim($event->body, "\x0b\x1c\r\n"); // some send an end of line behind it
    $header = explode('|', (string) strtok($message, "\r"));
    $isMessage = $header[0] === 'MSH' && isset($header[11]);
    [$application, $facility, $id] = $isMessage ? [$header[2], $header[3], $header[9]] : ['', '', ''];
    $log = ['type' => $header[8] ?? '', 'id' => $id];
    fwrite(STDERR, 'hl7 ' . json_encode($log, JSON_INVALID_UTF8_SUBSTITUTE) . "\n"); // or store it

    $time = gmdate('YmdHis');
    $answer = "MSH|^~\\&|||$application|$facility|$time||ACK|$id|P|2.5\rMSA|" . ($isMessage ? 'AA' : 'AR') . "|$id\r";
    return Reply::write("\x0b$answer\x1c\r");
});
