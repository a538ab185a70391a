"""What is forked from a server that SIGTERM passes by."""

import subprocess
import sys

SCRIPT = """
import multiprocessing, os, signal, time

def tell(pipe):
    pipe.send((os.getppid(), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL))
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tabweave.training.processes.rank_server"])
    for _ in range(2):
        here, there = context.Pipe()
        child = context.Process(target=tell, args=(there,))
        child.start()
        server, hears = here.recv()
        assert hears
        os.kill(server, signal.SIGTERM)
        os.kill(server, signal.SIGHUP)
        time.sleep(0.2)
        assert child.is_alive()
        child.terminate()
        child.join(10)
        assert child.exitcode == -signal.SIGTERM, child.exitcode
"""


def test_sigterm_ends_what_it_forks_but_not_the_server(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
