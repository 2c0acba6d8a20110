<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What becomes of a push. None of these says that the client has it. */
enum PushResult: string
{
    /** It is on its way: it is written whole, or the connection ends. */
    case Accepted = 'accepted';

    /** No such connection is open, or it is about to end. */
    case Gone = 'gone';

    /** Too much waits for the client already. */
    case Full = 'full';

    /** The node that has the connection did not answer in time: it may have been done or not. */
    case Unreachable = 'unreachable';
}
