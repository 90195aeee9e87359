import { address } from './common.js';

// Spread the values that changed, one JSON text, over the outputs. The first output is the cursor: as it travels with
// its values, an answer that arrives after a newer one that started from the same cursor is sent again.
export function distribute(numOutputs, changed) {
  const { cursor, values } = JSON.parse(changed || '{"values": {}}');
  const outputs = Array(numOutputs).fill({ __type__: 'update' });
  if (cursor !== undefined) outputs[0] = cursor;
  for (const [index, value] of Object.entries(values)) outputs[Number(index) + 1] = value;
  return outputs;
}

// What changed since the last tick, or "" if nothing did or the app cannot be reached.
export async function pulse(...values) {
  try {
    const answer = await fetch(address('pulse'), { method: 'POST', body: JSON.stringify(values) });
    return answer.ok ? await answer.text() : '';
  } catch {
    return '';
  }
}
