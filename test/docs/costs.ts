import type { Consumed } from '../support/dynamodb-meter.ts';

/** What `events` events in one batch asked of the table itself, and of the sink's own table besides. */
export type Measured = { readonly what: string; readonly events: number; readonly of: Consumed; readonly besides: Consumed };

/** docs/costs.md, before it is formatted. */
export function costsText(measured: readonly Measured[]): string {
  const rows = measured.map(({ what, events, of, besides }) => {
    const each = [of.calls, of.writeUnits, of.readUnits].map((number) => String(number / events));
    return `| ${what} | ${each.join(' | ')} | ${besides.calls} calls, ${besides.writeUnits} + ${besides.readUnits} |`;
  });
  return `# What DynamoDB costs

DynamoDB is paid for in units: for writes, for reads, and for what is stored. This page tells how many units an event takes, so that a price list of
your region gives the rest. The figures are counted by \`test/integration/sink-dynamodb-costs.test.ts\`, which stands between the sink and DynamoDB
Local and adds up the consumed capacity that the store tells; of statements it tells none, and the rules of the service's manual are applied to the
items before and after.

## The rules

From the Amazon DynamoDB Developer Guide, "DynamoDB read and write operations", "Condition expressions" and "Managing complex workflows with
transactions".

| What | Units |
| --- | --- |
| write of an item | 1 write unit for each KB, rounded up, of the larger of the item before and the item after |
| the same in a transaction | twice as many |
| write whose condition fails | as many as if it had taken effect; at least 1 |
| each index that the item stands in, or stood in | 1 write unit for each KB of what the index has of it, twice where its key there changed; none where nothing of that changed |
| each replica of a global table | the same write units again, of the replicated kind |
| strongly consistent read | 1 read unit for each 4 KB, rounded up; also of an item that is not there |
| eventually consistent read | half as many |
| read in a transaction | twice as many |
| scan | by the bytes of all that it passes, not of what it gives back |
| the item that a failed condition gives back | none |

The size of an item is that of its values and of the names of its attributes: \`cw_seq\` adds 30 bytes, \`cw_text\` the texts that it keeps.
Provisioned capacity counts units in each second (WCU, RCU), on-demand capacity counts requests (WRU, RRU); a unit is the same.

## What an event takes

${measured[0]?.events ?? 0} events in a batch, rows of about 650 bytes unless said otherwise, a table without indexes. In a batch of a thousand 25 rows are written in a
call, and 100 are read. The last column is for the whole batch: the look at the fence and the progress of its partition, and the progress that is stored behind it, in the sink's own table; calls, write units + read
units.

| Event | Calls | Write units | Read units | Besides, for each batch |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

- **A delete is a write**: it puts a tombstone, and is paid by the size of the row that it replaces. Tombstones are kept, and stored bytes are paid for.
- **What is not new at the source is read first**, a hundred rows in a call and eventually consistent, so that 25 rows go out in one call and what is
  stale is not written. \`writes: single\` saves the read, and takes a call for each row.
- **A replay** is paid in reads alone: a batch in which one row of twenty is there already makes the next ones look before they write.
- **Changes of one key in one batch are one write**: a row that is updated ten times while the sink is behind is written once.
- **A sink that is idle** stores progress about once a second for each partition while anything is captured at all: of an idle source that is the
  watermark of every fifth second.
- **An index** is paid for by each write that changes what it has of the row. Tombstones have no attribute that keys a sparse index.
`;
}
