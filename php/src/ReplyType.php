<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What a reply asks for. */
enum ReplyType: string
{
    /** The body goes to the client, then read on. */
    case Write = 'WRITE';

    /** Read on. */
    case Continue = 'CONTINUE';

    /** The body goes to the client, then close. */
    case WriteAndClose = 'WRITECLOSE';

    /** Close. */
    case Close = 'CLOSE';
}
