using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using OrleansCluster.Proxy.Host;
using OrleansCluster.Proxy.Rules;

namespace OrleansCluster.Proxy.Nftables;

/// <summary>One UDP flow that the kernel remembers.</summary>
/// <param name="Destination">Where the client sent to.</param>
/// <param name="Endpoint">Who answers: the endpoint it was translated to, or the destination itself if it was not.</param>
internal readonly record struct UdpFlow(IPEndPoint Destination, IPEndPoint Endpoint);

/// <summary>
/// Makes the kernel forget UDP flows of services that lead to endpoints which are not theirs any more. Translation is
/// decided by a flow's first packet, and UDP has no end: a client that keeps its port and goes on sending would reach a
/// dead endpoint for ever. (TCP connections end by themselves, and open ones are meant to go on.)
/// </summary>
internal sealed partial class Conntrack(IHostNetwork network, ILogger logger)
{
    /// <summary>Looks at all flows once and forgets the stale ones. A failure is logged: rules are in force without it.</summary>
    /// <returns>How many were forgotten.</returns>
    public int ForgetStale(ImmutableArray<ServiceRule> rules)
    {
        var services = new UdpServices(rules, network.LocalAddresses());
        if (services.IsEmpty)
            return 0;
        try
        {
            using var socket = network.CreateNetlinkSocket(ConntrackWire.NetlinkNetfilter);
            socket.ReceiveTimeout = 5_000;
            var stale = ConntrackWire.List(socket)
                .Where(flow => services.IsStale(flow.Flow))
                .ToArray();
            foreach (var (_, tuple) in stale)
                ConntrackWire.Delete(socket, tuple);
            if (stale.Length > 0)
                Log.Forgotten(logger, stale.Length);
            return stale.Length;
        }
        catch (SocketException e)
        {
            Log.Failed(logger, e);
            return 0;
        }
    }

    private static partial class Log
    {
        [LoggerMessage(60, LogLevel.Debug, "Forgot {Count} UDP flows to endpoints that are no longer in service.")]
        public static partial void Forgotten(ILogger logger, int count);

        [LoggerMessage(61, LogLevel.Warning, "UDP flows to former endpoints could not be forgotten; clients that keep their port may not notice the change.")]
        public static partial void Failed(ILogger logger, Exception cause);
    }
}

/// <summary>Which endpoints a UDP flow may lead to, by where it was sent to.</summary>
internal sealed class UdpServices
{
    private readonly Dictionary<IPEndPoint, ImmutableArray<IPEndPoint>> _byAddress = [];
    private readonly Dictionary<int, ImmutableArray<IPEndPoint>> _byNodePort = [];
    private readonly HashSet<IPAddress> _local;

    public UdpServices(ImmutableArray<ServiceRule> rules, IReadOnlyList<IPAddress> localAddresses)
    {
        _local = [.. localAddresses];
        foreach (var rule in rules.Where(static r => r.Key.Protocol == ServiceProtocol.Udp))
        {
            foreach (var ip in rule.ClusterIPs)
                _byAddress.TryAdd(new IPEndPoint(ip, rule.Port), rule.Endpoints);
            foreach (var ip in rule.ExternalIPs)
                _byAddress.TryAdd(new IPEndPoint(ip, rule.Port), rule.ExternalEndpoints);
            if (rule.NodePort != 0)
                _byNodePort.TryAdd(rule.NodePort, rule.ExternalEndpoints);
        }
    }

    public bool IsEmpty => _byAddress.Count == 0 && _byNodePort.Count == 0;

    /// <summary>True when the flow is a service's and leads to none of its endpoints: a former one, or none at all because
    /// the flow is older than the service.</summary>
    public bool IsStale(UdpFlow flow) =>
        _byAddress.TryGetValue(flow.Destination, out var endpoints)
        || (_byNodePort.TryGetValue(flow.Destination.Port, out endpoints)
            && _local.Contains(flow.Destination.Address) && !IPAddress.IsLoopback(flow.Destination.Address))
            ? !endpoints.Contains(flow.Endpoint)
            : false;
}

/// <summary>
/// The two requests of the kernel's conntrack interface that are needed (nfnetlink, linux/netfilter/nfnetlink_conntrack.h):
/// list and delete. A message is a netlink header of 16 bytes, a netfilter header of 4, and attributes (length, type,
/// payload, padded to 4), nested for tuples. Headers are in host order (little-endian on x64 and Arm64), payloads in network order.
/// </summary>
internal static class ConntrackWire
{
    public const int NetlinkNetfilter = 12;

    private const int HeaderLength = 16;
    private const int AttributesStart = HeaderLength + 4;
    private const ushort ListType = (1 << 8) | 1;
    private const ushort DeleteType = (1 << 8) | 2;
    private const ushort Request = 1;
    private const ushort Acknowledge = 4;
    private const ushort Dump = 0x300;
    private const ushort ErrorType = 2;
    private const ushort DoneType = 3;
    private const byte FamilyV4 = 2;
    private const byte ProtocolUdp = 17;

    // The kernel fills at most 32 KiB per read of a dump; a shorter buffer would cut messages.
    private const int BufferLength = 64 * 1024;

    /// <summary>All IPv4 UDP flows, each with its original tuple as the kernel wrote it.</summary>
    public static List<(UdpFlow Flow, byte[] Tuple)> List(Socket socket)
    {
        socket.Send(Message(ListType, Request | Dump, []));
        var flows = new List<(UdpFlow Flow, byte[] Tuple)>();
        var buffer = new byte[BufferLength];
        while (true)
        {
            var rest = buffer.AsSpan(0, socket.Receive(buffer));
            while (rest.Length >= HeaderLength)
            {
                var length = (int)BinaryPrimitives.ReadUInt32LittleEndian(rest);
                if (length < HeaderLength || length > rest.Length)
                    break;
                var message = rest[..length];
                var type = BinaryPrimitives.ReadUInt16LittleEndian(message[4..]);
                if (type == DoneType)
                    return flows;
                if (type == ErrorType)
                    throw Failure(message);
                if (length > AttributesStart && Parse(message[AttributesStart..]) is { } flow)
                    flows.Add(flow);
                rest = rest[Math.Min(Align(length), rest.Length)..];
            }
        }
    }

    /// <summary>Deletes the flow with this original tuple. One that ended in the meantime is fine.</summary>
    public static void Delete(Socket socket, byte[] tuple)
    {
        socket.Send(Message(DeleteType, Request | Acknowledge, tuple));
        var buffer = new byte[BufferLength];
        var answer = buffer.AsSpan(0, socket.Receive(buffer));
        const int NoEntry = -2;
        if (answer.Length >= AttributesStart
            && BinaryPrimitives.ReadInt32LittleEndian(answer[HeaderLength..]) is not (0 or NoEntry))
        {
            throw Failure(answer);
        }
    }

    internal static (UdpFlow Flow, byte[] Tuple)? Parse(ReadOnlySpan<byte> attributes)
    {
        ReadOnlySpan<byte> original = default;
        ReadOnlySpan<byte> reply = default;
        for (int at = 0, length; (length = AttributeAt(attributes, at, out var type)) > 0; at += Align(length))
        {
            if (type == 1)
                original = attributes.Slice(at, length);
            else if (type == 2)
                reply = attributes.Slice(at, length);
        }

        return ReadTuple(original, out _, out var destination) && ReadTuple(reply, out var answering, out _)
            ? (new UdpFlow(destination, answering), original.ToArray())
            : null;
    }

    private static bool ReadTuple(ReadOnlySpan<byte> tuple, out IPEndPoint source, out IPEndPoint destination)
    {
        IPAddress? sourceIP = null;
        IPAddress? destinationIP = null;
        var sourcePort = 0;
        var destinationPort = 0;
        var isUdp = false;
        var parts = Payload(tuple);
        for (int at = 0, length; (length = AttributeAt(parts, at, out var part)) > 0; at += Align(length))
        {
            var fields = Payload(parts.Slice(at, length));
            for (int fieldAt = 0, size; (size = AttributeAt(fields, fieldAt, out var field)) > 0; fieldAt += Align(size))
            {
                var bytes = Payload(fields.Slice(fieldAt, size));
                switch (part, field)
                {
                    case (1, 1) when bytes.Length == 4: sourceIP = new IPAddress(bytes); break;
                    case (1, 2) when bytes.Length == 4: destinationIP = new IPAddress(bytes); break;
                    case (2, 1) when bytes.Length >= 1: isUdp = bytes[0] == ProtocolUdp; break;
                    case (2, 2) when bytes.Length >= 2: sourcePort = BinaryPrimitives.ReadUInt16BigEndian(bytes); break;
                    case (2, 3) when bytes.Length >= 2: destinationPort = BinaryPrimitives.ReadUInt16BigEndian(bytes); break;
                    default: break;
                }
            }
        }

        source = new IPEndPoint(sourceIP ?? IPAddress.None, sourcePort);
        destination = new IPEndPoint(destinationIP ?? IPAddress.None, destinationPort);
        return isUdp && sourceIP is not null && destinationIP is not null;
    }

    /// <returns>Length of the attribute that begins there, header included, padding not; 0 at the end.</returns>
    private static int AttributeAt(ReadOnlySpan<byte> attributes, int at, out int type)
    {
        type = 0;
        if (at + 4 > attributes.Length)
            return 0;
        int length = BinaryPrimitives.ReadUInt16LittleEndian(attributes[at..]);
        type = BinaryPrimitives.ReadUInt16LittleEndian(attributes[(at + 2)..]) & 0x3fff; // Upper bits: nested, network order.
        return length < 4 || at + length > attributes.Length ? 0 : length;
    }

    private static ReadOnlySpan<byte> Payload(ReadOnlySpan<byte> attribute) => attribute.Length < 4 ? default : attribute[4..];

    private static byte[] Message(ushort type, ushort flags, ReadOnlySpan<byte> attributes)
    {
        var message = new byte[AttributesStart + Align(attributes.Length)];
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)message.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), type);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), flags);
        message[HeaderLength] = FamilyV4;
        attributes.CopyTo(message.AsSpan(AttributesStart));
        return message;
    }

    private static SocketException Failure(ReadOnlySpan<byte> message) =>
        new(message.Length >= AttributesStart ? -BinaryPrimitives.ReadInt32LittleEndian(message[HeaderLength..]) : 0, "The kernel refused a conntrack request.");

    private static int Align(int length) => (length + 3) & ~3;
}
