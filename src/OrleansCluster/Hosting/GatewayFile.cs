using System.Net;
using System.Net.Sockets;

namespace OrleansCluster.Hosting;

/// <summary>
/// Where node agents of other processes on this machine reach the silo: `DIR/gateway`, one line `address:port`. The port stays the same over restarts
/// while it can, so that agents find the silo again by themselves.
/// </summary>
internal static class GatewayFile
{
    /// <summary>The port to open: the one asked for, else the last one if it is free, else any free one. Writes the file.</summary>
    public static int Choose(string dataDirectory, int asked)
    {
        var port = asked != 0 ? asked : Read(dataDirectory)?.Port is { } last && IsFree(last) ? last : FreePort();
        File.WriteAllText(PathOf(dataDirectory), new IPEndPoint(IPAddress.Loopback, port) + "\n");
        return port;
    }

    /// <summary>The address in the file, or null if there is none.</summary>
    public static IPEndPoint? Read(string dataDirectory) =>
        File.Exists(PathOf(dataDirectory)) && IPEndPoint.TryParse(File.ReadAllText(PathOf(dataDirectory)).Trim(), out var endpoint) ? endpoint : null;

    /// <summary>A port nobody listens on now. Orleans takes no port 0: what it announces must be known before it listens.</summary>
    public static int FreePort()
    {
        using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)probe.LocalEndPoint!).Port;
    }

    private static bool IsFree(int port)
    {
        try
        {
            using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            probe.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            probe.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static string PathOf(string dataDirectory) => Path.Combine(dataDirectory, "gateway");
}
