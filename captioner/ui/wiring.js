// Spread the values that changed, which come as one JSON text, over the outputs. The first output is the cursor.
// It travels with the values that it stands for: if an answer arrives after a newer one that started from the same
// cursor, its values are sent again.
export function distribute(numOutputs, changed) {
  const { cursor, values } = JSON.parse(changed || '{"values": {}}');
  const outputs = Array(numOutputs).fill({ __type__: 'update' });
  if (cursor !== undefined) outputs[0] = cursor;
  for (const [index, value] of Object.entries(values)) outputs[Number(index) + 1] = value;
  return outputs;
}
