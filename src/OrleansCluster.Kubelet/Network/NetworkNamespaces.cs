using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>
/// Work inside other network namespaces. A thread's namespace is the thread's own, so all of it happens on one thread that nothing else uses; what it
/// makes there (sockets) stays in that namespace wherever it is used later.
/// </summary>
/// <remarks>
/// The work is kernel calls of 2–3 ms, one at a time; waiting behind each other costs nothing, since the kernel holds one lock for all of them.
/// </remarks>
internal static class NetworkNamespaces
{
    private static readonly Lazy<BlockingCollection<Action>> Work = new(StartThread);

    /// <summary>A TCP socket in the network namespace of a process.</summary>
    public static Task<Socket> CreateSocketAsync(int pid, CancellationToken cancellationToken)
    {
        return RunAsync(
            () => OperatingSystem.IsLinux()
                ? Inside(pid, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
                : throw new PlatformNotSupportedException(),
            cancellationToken);
    }

    /// <summary>Runs work on the thread, in its turn.</summary>
    public static Task<T> RunAsync<T>(Func<T> work, CancellationToken cancellationToken)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Work.Value.Add(
            () =>
            {
                if (cancellationToken.IsCancellationRequested)
                {
                    done.SetCanceled(cancellationToken);
                    return;
                }

                try
                {
                    done.SetResult(work());
                }
#pragma warning disable CA1031 // Whatever it is belongs to the caller; the thread must live on.
                catch (Exception e)
#pragma warning restore CA1031
                {
                    done.SetException(e);
                }
            },
            cancellationToken);
        return done.Task;
    }

    /// <summary>Runs something inside the network namespace of a process and comes back. Only on the thread of <see cref="RunAsync"/>.</summary>
    [SupportedOSPlatform("linux")]
    public static T Inside<T>(int pid, Func<T> work)
    {
        var home = LinuxNative.Open("/proc/thread-self/ns/net", LinuxNative.ReadOnly | LinuxNative.CloseOnExec);
        var target = LinuxNative.Open(
            string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/ns/net"),
            LinuxNative.ReadOnly | LinuxNative.CloseOnExec);
        try
        {
            if (home < 0 || target < 0)
            {
                throw new RuntimeException(RuntimeFailure.Network, $"the network namespace of process {pid} cannot be opened: it has ended");
            }

            Enter(target);
            try
            {
                return work();
            }
            finally
            {
                Enter(home);
            }
        }
        finally
        {
            if (target >= 0)
            {
                _ = LinuxNative.Close(target);
            }

            if (home >= 0)
            {
                _ = LinuxNative.Close(home);
            }
        }
    }

    [SupportedOSPlatform("linux")]
    private static void Enter(int descriptor)
    {
        if (LinuxNative.SetNamespace(descriptor, LinuxNative.NewNetwork) != 0)
        {
            throw new RuntimeException(
                RuntimeFailure.Network,
                "a network namespace cannot be entered: " + Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError()));
        }
    }

    // Not stopped: it holds nothing, and ends with the process as a background thread.
    private static BlockingCollection<Action> StartThread()
    {
        // The callers are pod starts and port-forwards, each waiting for its one entry: as many as they are.
        var work = new BlockingCollection<Action>();
        var thread = new Thread(
            () =>
            {
                foreach (var action in work.GetConsumingEnumerable())
                {
                    action();
                }
            })
        {
            IsBackground = true,
            Name = "network namespaces",
        };
        thread.Start();
        return work;
    }
}
