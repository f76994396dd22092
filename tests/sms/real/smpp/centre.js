// A centre made of the npm package `smpp`: prints what it hears, one JSON object a line.
//
//     node centre.js <folder of node_modules> <port> <system_id> <password>
//
// The last two digits of the number select what it does with a message: see `ways`. A line of JSON on its
// standard input is a message from a phone, with its PDU: {"command": "deliver_sm", "text": "STOP"}.
const [folder, port, systemId, password] = process.argv.slice(2);
const smpp = require(require.resolve('smpp', { paths: [folder] }));
const print = (event, more) => console.log(JSON.stringify({ event, ...more }));
let last = 0x7a2e;
let bound; // the newest session

const ways = {
  11: (session, pdu) => session.send(pdu.response({ command_status: smpp.ESME_RINVDSTADR })),
  58: (session, pdu) => session.send(pdu.response({ command_status: smpp.ESME_RTHROTTLED })),
  98: () => {}, // never answers
  99: (session) => session.destroy(),
};

function take(session, pdu) {
  const id = ++last;
  const about = { source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4 };
  const text = `id:${String(id).padStart(10, '0')} sub:001 dlvrd:001 stat:DELIVRD err:000 text:`;
  const told = { receipted_message_id: id.toString(16), message_state: smpp.MESSAGE_STATE.UNDELIVERABLE };
  session.send(pdu.response({ message_id: id.toString(16) }));
  const receipt = pdu.destination_addr.endsWith('77') ? { ...about, ...told } : { ...about, short_message: text };
  session.deliver_sm(receipt, (answer) => print('receipt', { status: answer.command_status }));
}

smpp.createServer((session) => {
  session.on('error', () => {});
  session.on('bind_transceiver', (pdu) => {
    const known = pdu.system_id === systemId && pdu.password === password;
    print('bind', { known, version: pdu.interface_version });
    bound = session;
    session.send(pdu.response({ command_status: known ? smpp.ESME_ROK : smpp.ESME_RINVPASWD }));
  });
  session.on('submit_sm', (pdu) => {
    print('submit', { ...pdu, text: pdu.short_message.message });
    (ways[pdu.destination_addr.slice(-2)] || take)(session, pdu);
  });
  for (const command of ['enquire_link', 'unbind']) {
    session.on(command, (pdu) => { print(command); session.send(pdu.response()); });
  }
}).listen(Number(port), '127.0.0.1', () => print('listening'));

// A text is encoded by the package: `udh` is the header before it, in hexadecimal, and `data_coding` its coding.
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { command, udh, place = 'short_message', text, ...fields } = JSON.parse(line);
  const message = udh ? { udh: Buffer.from(udh, 'hex'), message: text } : text;
  bound[command]({ ...fields, [place]: message }, (answer) => print('answer', { status: answer.command_status }));
});
