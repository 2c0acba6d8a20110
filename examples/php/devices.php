<?php

/**
 * A gateway for devices with certificates: each sends its readings, a JSON object in a line, and gets "ok" or "error".
 *
 * Who has not got a certificate of ours does not come this far. CONNECTED says whose certificate it was; that goes with
 * the connection as its state, so every worker knows which device it hears.
 */

declare(strict_types=1);

use Rrtcp\Worker\Event;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\Server;

require __DIR__ . '/vendor/autoload.php';

final class Gateway
{
    public function onConnect(Event $event): Reply
    {
        $device = $event->tls['client']['sans'][0] ?? '';

        return $this->isKnown($device) ? Reply::continue()->withState($device) : Reply::close();
    }

    public function onData(Event $event): Reply
    {
        if ($event->eof) {
            return Reply::close(); // half a reading is none
        }
        if (!is_array(json_decode($event->body, true))) {
            return Reply::write("error\n");
        }
        fwrite(STDERR, "device {$event->state}: " . rtrim($event->body) . "\n"); // or store it

        return Reply::write("ok\n");
    }

    /** Whether it may still talk to us: a certificate can be stolen before it expires. Ask your database here. */
    private function isKnown(string $device): bool
    {
        return $device !== '' && $device !== 'stolen-device';
    }
}

(new Server())->run(new Gateway());
