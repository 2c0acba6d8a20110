<?php

/** The worker that is measured: the kit, which sends every packet back. */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/php/spiral/autoload.php';

use Rrtcp\Worker\Event;
use Rrtcp\Worker\EventType;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\Server;

(new Server())->run(static fn (Event $event): Reply => $event->type === EventType::Data
    ? Reply::write($event->body)
    : Reply::continue());
