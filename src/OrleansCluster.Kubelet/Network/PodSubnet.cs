using System.Buffers.Binary;
using System.Net;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Network;

/// <summary>
/// The addresses of one node's pods. The first address is the node's own in the pod network, the last is not used; the others are given out in a
/// circle, so that an address rests as long as possible before its next owner gets it.
/// </summary>
internal sealed class PodSubnet
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, uint> _byOwner = new(StringComparer.Ordinal);
    private readonly HashSet<uint> _taken = [];
    private readonly uint _base;
    private readonly uint _size;
    private uint _next = 2;

    public PodSubnet(IPNetwork network)
    {
        const int maxPrefix = 30; // Two addresses that can be given out.
        if (network.BaseAddress.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork || network.PrefixLength > maxPrefix)
        {
            throw new ArgumentException($"{network} is no IPv4 subnet of at most {maxPrefix} bits", nameof(network));
        }

        Network = network;
        _base = BinaryPrimitives.ReadUInt32BigEndian(network.BaseAddress.GetAddressBytes());
        _size = 1u << (32 - network.PrefixLength);
        Gateway = ToAddress(1);
    }

    public IPNetwork Network { get; }

    /// <summary>The node's own address in the pod network.</summary>
    public IPAddress Gateway { get; }

    /// <summary>The owner's address; a new one if it has none.</summary>
    public IPAddress Reserve(string owner)
    {
        lock (_lock)
        {
            if (_byOwner.TryGetValue(owner, out var held))
            {
                return ToAddress(held);
            }

            var usable = _size - 3;
            for (uint tried = 0; tried < usable; tried++)
            {
                var offset = _next;
                _next = _next + 1 < _size - 1 ? _next + 1 : 2;
                if (_taken.Add(offset))
                {
                    _byOwner[owner] = offset;
                    return ToAddress(offset);
                }
            }

            throw new RuntimeException(RuntimeFailure.Network, $"all {usable} addresses of {Network} are taken");
        }
    }

    /// <summary>Marks an address as an owner's; addresses outside the subnet (it was another one then) are ignored.</summary>
    public void Restore(string owner, IPAddress address)
    {
        if (!Network.Contains(address))
        {
            return;
        }

        lock (_lock)
        {
            var offset = BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes()) - _base;
            _byOwner[owner] = offset;
            _taken.Add(offset);
            if (offset >= _next)
            {
                _next = offset + 1 < _size - 1 ? offset + 1 : 2;
            }
        }
    }

    /// <summary>Gives an owner's address back; false when it had none.</summary>
    public bool Release(string owner)
    {
        lock (_lock)
        {
            return _byOwner.Remove(owner, out var offset) && _taken.Remove(offset);
        }
    }

    private IPAddress ToAddress(uint offset)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, _base + offset);
        return new IPAddress(bytes);
    }
}
