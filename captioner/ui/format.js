// Text for people. captioner/formatting.py writes the same in Python.

export const number = count => count.toLocaleString('en');

export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? '' : 's'}`;

export const capitalize = text => text[0].toUpperCase() + text.slice(1);

// A time as on a player: "1:05" or "1:02:03".
export function clock(seconds) {
  const whole = Math.round(seconds), pad = part => String(part).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, pad(whole % 60)];
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

// A POSIX time in the time zone and language of the browser.
export const dateTime = seconds =>
  new Date(seconds * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
