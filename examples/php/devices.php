<?php

/**
 * A gateway for devices with certificates: each sends its readings, a JSON object in a line, and gets "ok" or "error".
 *
 * Who has not got a certificate of ours does not come this far. CONNECTED says whose certificate it was; that goes with
 * the connection as its state, so every worker knows which device it hears.
 */

declare(strict_types=1);

use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

/** Whether it may still talk to us: a certificate can be stolen before it expires. Ask your database here. */
function isKnown(string $device): bool
{
    return $device !== '' && $device !== 'stolen-device';
}

function take(string $device, string $line): string
{
    $reading = json_decode($line, true);
    if (!is_array($reading)) {
        return 'error';
    }
    fwrite(STDERR, "device $device: " . json_encode($reading) . "\n"); // or store it

    return 'ok';
}

$worker = Worker::create();

while ($request = $worker->waitPayload()) {
    try {
        $event = json_decode($request->header, true, 8, JSON_THROW_ON_ERROR);
        $answer = ['reply' => 'CONTINUE', 'uuid' => $event['uuid']];
        $text = '';

        if ($event['event'] === 'CONNECTED') {
            $device = $event['tls']['client']['sans'][0] ?? '';
            $answer['reply'] = isKnown($device) ? 'CONTINUE' : 'CLOSE';
            $answer['state'] = $device;
        } elseif ($event['event'] === 'DATA' && isset($event['eof'])) {
            $answer['reply'] = 'CLOSE'; // half a reading is none
        } elseif ($event['event'] === 'DATA') {
            $answer['reply'] = 'WRITE';
            $text = take($event['state'], $request->body) . "\n";
        }
        $worker->respond(new Payload($text, json_encode($answer, JSON_THROW_ON_ERROR)));
    } catch (\Throwable $e) {
        // An error reply: RoadRunner logs it and closes the connection.
        $worker->error((string) $e);
    }
}
