using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Text;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>
/// The kernel's routing socket (rtnetlink(7)): links, addresses, routes, neighbours. One request, one acknowledgement. A socket belongs to the
/// network namespace of the thread that opened it.
/// </summary>
[SupportedOSPlatform("linux")]
internal sealed class Netlink : IDisposable
{
    public const int NotFound = 19; // ENODEV
    public const int Exists = 17; // EEXIST

    private const ushort NewLink = 16, DeleteLink = 17, GetLink = 18, NewAddress = 20, DeleteAddress = 21, NewRoute = 24, NewNeighbor = 28;
    private const ushort Request = 1, Acknowledge = 4, Exclusive = 0x200, Replace = 0x100, Create = 0x400;
    private const ushort ErrorMessage = 2;
    private const ushort Nested = 0x8000;
    private const byte InterNetwork = 2;
    private const uint InterfaceUp = 1;

    private readonly int _socket;
    private readonly byte[] _message = new byte[1024];
    private int _length;
    private uint _sequence;

    public Netlink()
    {
        _socket = LinuxNative.Socket(
            LinuxNative.NetlinkFamily,
            LinuxNative.RawSocket | LinuxNative.CloseOnExec,
            LinuxNative.RouteProtocol);
        if (_socket < 0)
        {
            throw Failed("open the routing socket", Marshal.GetLastPInvokeError());
        }
    }

    public void Dispose() => _ = LinuxNative.Close(_socket);

    /// <summary>
    /// Makes a pair of connected links: one here, the other as <paramref name="peerName"/> in the namespace of <paramref name="peerPid"/>.
    /// </summary>
    /// <returns>False when a link of that name is here already.</returns>
    public bool CreateVethPair(
        string name, ReadOnlySpan<byte> mac, string peerName, ReadOnlySpan<byte> peerMac, int peerPid, int mtu)
    {
        Begin(NewLink, Request | Acknowledge | Create | Exclusive);
        LinkHeader(0, 0, 0);
        Attribute(3, Text(name));
        Attribute(1, mac);
        Attribute(4, mtu);
        var info = BeginNested(18); // IFLA_LINKINFO
        Attribute(1, "veth"u8);
        var data = BeginNested(2);
        var peer = BeginNested(1); // VETH_INFO_PEER
        LinkHeader(0, 0, 0);
        Attribute(3, Text(peerName));
        Attribute(1, peerMac);
        Attribute(4, mtu);
        Attribute(19, peerPid); // IFLA_NET_NS_PID
        EndNested(peer);
        EndNested(data);
        EndNested(info);
        var error = Send();
        return error switch
        {
            0 => true,
            Exists => false,
            _ => throw Failed($"create the link {name}", error),
        };
    }

    /// <summary>The index of a link, or 0 when there is none of that name.</summary>
    public int FindLink(string name)
    {
        Begin(GetLink, Request);
        LinkHeader(0, 0, 0);
        Attribute(3, Text(name));
        var error = Send(out var answer);
        return error switch
        {
            0 => BinaryPrimitives.ReadInt32LittleEndian(answer[20..]),
            NotFound => 0,
            _ => throw Failed($"find the link {name}", error),
        };
    }

    public void SetUp(int link)
    {
        Begin(NewLink, Request | Acknowledge);
        LinkHeader(link, InterfaceUp, InterfaceUp);
        Expect("bring a link up", Send());
    }

    /// <summary>Removes a link; removing none is a success.</summary>
    public void RemoveLink(string name)
    {
        Begin(DeleteLink, Request | Acknowledge);
        LinkHeader(0, 0, 0);
        Attribute(3, Text(name));
        Expect($"remove the link {name}", Send(), NotFound);
    }

    public void AddAddress(int link, IPAddress address, byte prefixLength = 32)
    {
        AddressRequest(NewAddress, Request | Acknowledge | Create | Exclusive, link, address, prefixLength);
        Expect($"add the address {address}", Send(), Exists);
    }

    /// <summary>Removes an address; removing none is a success.</summary>
    public void RemoveAddress(int link, IPAddress address, byte prefixLength = 32)
    {
        const int noSuchAddress = 99; // EADDRNOTAVAIL
        AddressRequest(DeleteAddress, Request | Acknowledge, link, address, prefixLength);
        Expect($"remove the address {address}", Send(), noSuchAddress);
    }

    /// <summary>Adds or replaces a route.</summary>
    /// <param name="link">Through which link.</param>
    /// <param name="destination">Where to; null is everywhere.</param>
    /// <param name="prefixLength">Bits of the destination that count.</param>
    /// <param name="gateway">Via whom; null when the destination is on the link.</param>
    /// <param name="source">The address this machine speaks from on that route; null leaves it to the kernel.</param>
    public void SetRoute(int link, IPAddress? destination, byte prefixLength, IPAddress? gateway, IPAddress? source)
    {
        const byte mainTable = 254, bootProtocol = 3, universe = 0, onLink = 253, unicast = 1;
        const uint gatewayIsOnLink = 4; // RTNH_F_ONLINK
        Begin(NewRoute, Request | Acknowledge | Create | Replace);
        Bytes([InterNetwork, destination is null ? (byte)0 : prefixLength, 0, 0, mainTable, bootProtocol, gateway is null ? onLink : universe, unicast]);
        Number(gateway is null ? 0 : gatewayIsOnLink);
        if (destination is not null)
        {
            Attribute(1, destination.GetAddressBytes());
        }

        Attribute(4, link);
        if (gateway is not null)
        {
            Attribute(5, gateway.GetAddressBytes());
        }

        if (source is not null)
        {
            Attribute(7, source.GetAddressBytes());
        }

        Expect($"set the route to {destination?.ToString() ?? "everywhere"}", Send());
    }

    /// <summary>Tells the kernel a neighbour's hardware address for good, so that it never has to ask.</summary>
    public void SetNeighbor(int link, IPAddress address, ReadOnlySpan<byte> mac)
    {
        const ushort permanent = 0x80;
        Begin(NewNeighbor, Request | Acknowledge | Create | Replace);
        Bytes([InterNetwork, 0, 0, 0]);
        Number((uint)link);
        Bytes([(byte)(permanent & 0xff), (byte)(permanent >> 8), 0, 0]);
        Attribute(1, address.GetAddressBytes());
        Attribute(2, mac);
        Expect($"set the neighbour {address}", Send());
    }

    private static RuntimeException Failed(string what, int error) =>
        new(RuntimeFailure.Network, $"cannot {what}: {Marshal.GetPInvokeErrorMessage(error)}");

    private static void Expect(string what, int error, int alsoFine = 0)
    {
        if (error != 0 && error != alsoFine)
        {
            throw Failed(what, error);
        }
    }

    private static byte[] Text(string text) => [.. Encoding.ASCII.GetBytes(text), 0];

    private void AddressRequest(ushort type, ushort flags, int link, IPAddress address, byte prefixLength)
    {
        Begin(type, flags);
        Bytes([InterNetwork, prefixLength, 0, 0]);
        Number((uint)link);
        Attribute(2, address.GetAddressBytes()); // IFA_LOCAL
        Attribute(1, address.GetAddressBytes()); // IFA_ADDRESS
    }

    private void Begin(ushort type, ushort flags)
    {
        _length = 16;
        BinaryPrimitives.WriteUInt16LittleEndian(_message.AsSpan(4), type);
        BinaryPrimitives.WriteUInt16LittleEndian(_message.AsSpan(6), flags);
        BinaryPrimitives.WriteUInt32LittleEndian(_message.AsSpan(8), ++_sequence);
        BinaryPrimitives.WriteUInt32LittleEndian(_message.AsSpan(12), 0);
    }

    private void LinkHeader(int index, uint flags, uint change)
    {
        Number(0);
        Number((uint)index);
        Number(flags);
        Number(change);
    }

    private void Bytes(ReadOnlySpan<byte> data)
    {
        data.CopyTo(_message.AsSpan(_length));
        _length += data.Length;
    }

    private void Number(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_message.AsSpan(_length), value);
        _length += 4;
    }

    private void Attribute(ushort type, int value)
    {
        Span<byte> data = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(data, value);
        Attribute(type, data);
    }

    private void Attribute(ushort type, ReadOnlySpan<byte> data)
    {
        var start = BeginNested(type, nestedFlag: 0);
        Bytes(data);
        EndNested(start);
    }

    private int BeginNested(ushort type, ushort nestedFlag = Nested)
    {
        var start = _length;
        BinaryPrimitives.WriteUInt16LittleEndian(_message.AsSpan(start + 2), (ushort)(type | nestedFlag));
        _length += 4;
        return start;
    }

    private void EndNested(int start)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_message.AsSpan(start), (ushort)(_length - start));
        while (_length % 4 != 0)
        {
            _message[_length++] = 0;
        }
    }

    private int Send() => Send(out _);

    /// <summary>Sends the message; the kernel has answered when the call returns. Result: 0 or the error number.</summary>
    private int Send(out ReadOnlySpan<byte> answer)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_message, (uint)_length);
        answer = default;
        if (LinuxNative.Send(_socket, _message.AsSpan(0, _length), _length, 0) < 0)
        {
            return Marshal.GetLastPInvokeError();
        }

        var reply = new byte[8192];
        var received = LinuxNative.Receive(_socket, reply, reply.Length, 0);
        if (received < 0)
        {
            return Marshal.GetLastPInvokeError();
        }

        if (BinaryPrimitives.ReadUInt16LittleEndian(reply.AsSpan(4)) == ErrorMessage)
        {
            return -BinaryPrimitives.ReadInt32LittleEndian(reply.AsSpan(16));
        }

        answer = reply.AsSpan(0, (int)received);
        return 0;
    }
}
