"""A real browser without a window: headless Chromium, told what to do over its debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path

_TIMEOUT_S = 30
_OPTIONS = (
    '--headless=new',
    '--no-sandbox',  # it is root's in a container, and shows nothing but our own pages
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-background-networking',
    '--no-first-run',
    '--hide-scrollbars',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    '--remote-debugging-pipe',
)


class Browser:
    """Chromium with a profile of its own in ``home``; ``page()`` opens a tab."""

    def __init__(self, home):
        home.mkdir(parents=True, exist_ok=True)
        theirs_in, self._in = os.pipe()
        self._out, theirs_out = os.pipe()
        options = ' '.join(f"'{option}'" for option in (*_OPTIONS, f'--user-data-dir={home}'))
        self._process = subprocess.Popen(
            # The pipe is at the descriptors 3 and 4, which only a shell can promise.
            ['bash', '-c', f'exec chromium {options} about:blank 3<&{theirs_in} 4>&{theirs_out}'],
            env={**os.environ, 'HOME': str(home)},
            pass_fds=[theirs_in, theirs_out],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._last = b'', 0
        self._events = []

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        os.close(self._in)  # the browser ends with its pipe
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)

    def page(self, *, width=1200, height=800, dark=False, script=True):
        """Open an empty tab of that size, with or without the dark colours and JavaScript.

        Asked for a name and a password, it cancels, as a person does who has none.
        """
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        page = Page(self, session)
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            page.call(f'{domain}.enable')
        page.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        page.call('Emulation.setEmulatedMedia', features=[scheme])
        page.call('Emulation.setScriptExecutionDisabled', value=not script)
        page.call('Fetch.enable', handleAuthRequests=True)
        return page

    def call(self, method, *, session=None, **params):
        """Do one thing and return its result."""
        number = self._send(method, session, params)
        while True:
            answer = self._receive()
            if answer.get('id') == number:
                assert 'error' not in answer, f'{method}: {answer["error"]}'
                return answer['result']
            if 'method' in answer:
                self._events.append(answer)

    def wait(self, session, method):
        """Wait for an event; returns all the events of the session up to it."""
        seen = []
        while not seen or seen[-1]['method'] != method:
            event = self._events.pop(0) if self._events else self._receive()
            if event.get('sessionId') == session and 'method' in event:
                seen.append(event)
        return seen

    def _send(self, method, session, params):
        self._last += 1
        message = {'id': self._last, 'method': method, 'params': params}
        if session:
            message['sessionId'] = session
        os.write(self._in, json.dumps(message).encode() + b'\0')
        return self._last

    def _receive(self):
        deadline = time.monotonic() + _TIMEOUT_S
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], max(0, deadline - time.monotonic()))
            assert ready, 'the browser does not answer'
            block = os.read(self._out, 1 << 20)
            assert block, 'the browser has ended'
            self._buffer += block
        text, _, self._buffer = self._buffer.partition(b'\0')
        message = json.loads(text)
        self._let_go_on(message)
        return message

    def _let_go_on(self, event):
        """Answer what the browser waits for: whether to send a request, and who we are."""
        method, request = event.get('method'), event.get('params', {}).get('requestId')
        if method == 'Fetch.requestPaused':
            self._send('Fetch.continueRequest', event['sessionId'], {'requestId': request})
        elif method == 'Fetch.authRequired':
            answer = {'requestId': request, 'authChallengeResponse': {'response': 'CancelAuth'}}
            self._send('Fetch.continueWithAuth', event['sessionId'], answer)


class Page:
    """A tab. ``requests`` are the URLs that the page shown was made of, ``complaints`` what the browser says is wrong."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session
        self.requests, self.complaints, self.status = [], [], None

    def call(self, method, **params):
        return self._browser.call(method, session=self._session, **params)

    def open(self, url):
        """Show ``url`` and wait until all of it is there."""
        self.requests, self.complaints, self.status = [], [], None
        failed = self.call('Page.navigate', url=url).get('errorText')
        assert not failed, f'{url}: {failed}'
        self._note(self._browser.wait(self._session, 'Page.loadEventFired'))

    def follow(self, selector):
        """Click on the first element like ``selector`` and wait for the page behind it."""
        self.requests, self.complaints, self.status = [], [], None
        self.value(f'document.querySelector({json.dumps(selector)}).click()')
        self._note(self._browser.wait(self._session, 'Page.loadEventFired'))

    def value(self, expression):
        """Return the value of a JavaScript expression in the page."""
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in result, result['exceptionDetails']
        return result['result'].get('value')

    def texts(self, selector):
        """Return the text of every element like ``selector``."""
        found = f'[...document.querySelectorAll({json.dumps(selector)})]'
        return self.value(f'{found}.map(element => element.innerText.trim())')

    def screenshot(self, path):
        """Write a picture of the whole page."""
        taken = self.call('Page.captureScreenshot', captureBeyondViewport=True)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(base64.b64decode(taken['data']))

    def _note(self, events):
        asked = {}
        for event in events:
            params = event['params']
            if event['method'] == 'Network.requestWillBeSent':
                asked[params['requestId']] = params['request']['url']
            elif event['method'] == 'Network.loadingFailed' and 'blockedReason' in params:
                asked.pop(params['requestId'], None)
            elif event['method'] == 'Network.responseReceived' and params['type'] == 'Document':
                self.status = params['response']['status']
            elif event['method'] == 'Log.entryAdded':
                self.complaints.append(params['entry']['text'])
            elif event['method'] == 'Runtime.exceptionThrown':
                self.complaints.append(params['exceptionDetails']['text'])
        self.requests = list(asked.values())
